"""Computed directions of a survey: each is computed once from its recipe and the origin, and found again after that."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

from safescape.engines import margin_gradient, refusal_ablation
from safescape.errors import InputError
from safescape.measure.chats import RenderedPrompts
from safescape.measure.loop import Progress
from safescape.survey import ComputedAxis, Gradient, Survey
from safescape.weights import Computed, Model, at_the_norm_of, compute_direction, is_computed

_log = logging.getLogger(__name__)


def with_directions(survey: Survey, model: Model, on_progress: Callable[[Progress], None]) -> Survey:
    """Return a survey whose computed axes have the fingerprints of their directions, which lie in the cache.

    `on_progress` is called before one is computed, which takes longer than a point.

    Raises:
        InputError: a direction cannot be computed, or is another one than that with which the run was begun.

    """
    for axis in survey.subspace.axes:
        if isinstance(axis, ComputedAxis) and not is_computed(axis, survey.model_fingerprint):
            note = f"computing {axis.recipe.label} on {axis.recipe.prompts} prompts"
            on_progress(Progress(0, sum(1 for _ in survey.points()), note=note))
    return survey.with_axes(
        [_computed(survey, model, axis) if isinstance(axis, ComputedAxis) else axis for axis in survey.subspace.axes]
    )


def _computed(survey: Survey, model: Model, axis: ComputedAxis) -> ComputedAxis:
    compute = functools.partial(_direction, survey, model, axis)
    fingerprint, found = compute_direction(axis, survey.model_fingerprint, compute)
    if axis.fingerprint is not None and axis.fingerprint != fingerprint:
        raise InputError(
            f"{axis.recipe.label}: computed on this machine it is another direction than the run was begun with, as "
            "sums are rounded otherwise; finish the run where it was begun, or begin another with --out DIR"
        )
    return axis.model_copy(update={"fingerprint": fingerprint, "found": found})


def _direction(survey: Survey, model: Model, axis: ComputedAxis) -> Computed:
    recipe, began = axis.recipe, time.monotonic()
    assert recipe.margin is not None
    prompts = RenderedPrompts.of(survey, model).without_thoughts(survey)
    asked = model, prompts.tokenizer, prompts.chats[recipe.margin.name], recipe.margin.openings
    how: dict[str, Any] = {"device": survey.device, "trust_remote_code": survey.trust_remote_code}
    if isinstance(recipe, Gradient):
        gradient = margin_gradient(*asked, **how)
        computed = Computed(at_the_norm_of(model.weights, {name: -tensor for name, tensor in gradient.items()}))
    else:
        assert recipe.harmless is not None
        computed = Computed(*refusal_ablation(*asked, prompts.chats[recipe.harmless.name], **how))
    _log.info("computed %s in %.1f s", recipe.label, time.monotonic() - began)
    return computed
