"""Computed directions of a survey: each is computed once from its recipe and the origin, and read after that."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from safescape.engines import margin_gradient, refusal_ablation, worst_move
from safescape.errors import InputError
from safescape.measure.chats import RenderedPrompts
from safescape.measure.loop import Progress
from safescape.survey import Axis, ComputedAxis, Difference, Gradient, PromptRecipe, Removal, Survey, Training, Worst
from safescape.weights import (
    Model,
    at_the_norm_of,
    difference_of,
    directions_of,
    file_of,
    fingerprint,
    fingerprint_of_file,
    inspect,
    length_of,
    resolve,
    save_direction,
)

_log = logging.getLogger(__name__)


Train = Callable[[Survey, Model, Training, Path], None]
"""Finetune the model of a survey by a recipe, and write the finetune into a directory."""


def with_directions(
    survey: Survey, model: Model, run: Path, on_progress: Callable[[Progress], None], train: Train
) -> Survey:
    """Return a survey whose computed axes have the fingerprints of their directions, which lie in its run directory.

    Args:
        survey: To be measured.
        model: The model it names.
        run: The run directory, which holds this survey or none.
        on_progress: Called before a direction is computed, which takes longer than a point.
        train: For the directions of finetunes.

    Raises:
        InputError: a direction cannot be computed or written, its file is damaged, or it is another one than that
            with which the run was begun.

    """
    directory = directions_of(run)

    def computed(axis: Axis) -> Axis:
        if not isinstance(axis, ComputedAxis) or _is_stored(axis, directory):
            return axis
        note = f"computing {axis.recipe.label} ({axis.recipe.made_from})"
        on_progress(Progress(0, sum(1 for _ in survey.points()), note=note))
        return _computed(survey, model, axis, directory, train)

    return survey.with_axes([computed(axis) for axis in survey.subspace.axes])


def _is_stored(axis: ComputedAxis, directory: Path) -> bool:
    """Whether the direction that a run was begun with is there; raise InputError if its file holds another."""
    if axis.fingerprint is None or not (path := file_of(axis, directory)).is_file():
        return False
    if fingerprint_of_file(path) != axis.fingerprint:
        raise InputError(f"{path}: was changed since the run was begun; remove it to have it computed again")
    return True


def _computed(survey: Survey, model: Model, axis: ComputedAxis, directory: Path, train: Train) -> ComputedAxis:
    tensors, found = _direction(survey, model, axis, train)
    made = {"fingerprint": fingerprint(tensors, tensors.__getitem__), "found": found}
    computed = axis.model_copy(update={**made, "length": length_of(tensors, model.weights, axis.only)})
    if axis.fingerprint not in (None, computed.fingerprint):
        raise InputError(
            f"{axis.recipe.label}: computed on this machine it is another direction than the run was begun with, as "
            "sums are rounded otherwise; finish the run with its folder `directions`, or begin another with --out DIR"
        )
    save_direction(tensors, file_of(computed, directory))
    return computed


_Found = tuple[Mapping[str, Tensor], str | None]
"""The tensors of a direction that move, and what was found out on the way, in words."""


def _direction(survey: Survey, model: Model, axis: ComputedAxis, train: Train) -> _Found:
    recipe, began = axis.recipe, time.monotonic()
    if isinstance(recipe, PromptRecipe):
        found = _by_prompts(survey, model, recipe)
    elif isinstance(recipe, Difference):
        found = _toward(survey, model, recipe)
    else:
        with tempfile.TemporaryDirectory(prefix="safescape-") as directory:
            train(survey, model, recipe, Path(directory))
            found = _difference(model, resolve(directory), "the finetune")
    _log.info("computed %s in %.1f s", recipe.label, time.monotonic() - began)
    return found


def _by_prompts(survey: Survey, model: Model, recipe: PromptRecipe) -> _Found:
    assert recipe.margin is not None
    prompts = RenderedPrompts.of(survey, model).without_thoughts(survey)
    asked = model, prompts.tokenizer, prompts.chats[recipe.margin.name], recipe.margin.openings
    how: dict[str, Any] = {"device": survey.device, "trust_remote_code": survey.trust_remote_code}
    if isinstance(recipe, Gradient):
        gradient = margin_gradient(*asked, **how)
        return at_the_norm_of(model.weights, {name: -each for name, each in gradient.items()}), None
    assert isinstance(recipe, Removal | Worst)
    assert recipe.harmless is not None
    harmless = prompts.chats[recipe.harmless.name]
    if isinstance(recipe, Removal):
        return refusal_ablation(*asked, harmless, **how)
    how |= {"radius": recipe.radius, "steps": recipe.steps, "max_change": recipe.max_change}
    return worst_move(*asked, harmless, **how)


def _toward(survey: Survey, model: Model, recipe: Difference) -> _Found:
    other = resolve(recipe.model, trust_remote_code=survey.trust_remote_code)
    if (found := inspect(other.weights)) != recipe.model_fingerprint:
        raise InputError(
            f"{recipe.model}: has fingerprint {found[:19]}…, the survey was written for "
            f"{recipe.model_fingerprint[:19]}…; give that model, or scan anew"
        )
    return _difference(model, other, "the other model", away=recipe.away)


def _difference(model: Model, other: Model, called: str, *, away: bool = False) -> _Found:
    """Return the difference to another model, scaled, and how far away that model is."""
    difference, distance = difference_of(model.weights, other.weights, other.name)
    if not difference:
        raise InputError(
            f"{other.name}: has the same weights as {model.name} wherever a direction moves them; give another model"
        )
    turned = {name: -tensor for name, tensor in difference.items()} if away else difference
    said = f"{called} is {100.0 * distance:.2g} % of the norm of these weights away"
    return at_the_norm_of(model.weights, turned), said
