"""Computed directions of a survey: each is computed once from its recipe and the origin, and found again after that."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping

from torch import Tensor

from safescape.engines import margin_gradient
from safescape.errors import InputError
from safescape.measure.chats import RenderedPrompts
from safescape.measure.loop import Progress
from safescape.survey import ComputedAxis, Survey
from safescape.weights import Model, at_the_norm_of, compute_direction, is_computed

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
    found = compute_direction(axis, survey.model_fingerprint, functools.partial(_tensors, survey, model, axis))
    if axis.fingerprint is not None and axis.fingerprint != found:
        raise InputError(
            f"{axis.recipe.label}: computed on this machine it is another direction than the run was begun with, as "
            "sums are rounded otherwise; finish the run where it was begun, or begin another with --out DIR"
        )
    return axis.model_copy(update={"fingerprint": found})


def _tensors(survey: Survey, model: Model, axis: ComputedAxis) -> Mapping[str, Tensor]:
    margin = axis.recipe.margin
    assert margin is not None
    prompts, began = RenderedPrompts.of(survey, model).without_thoughts(survey), time.monotonic()
    gradient = margin_gradient(
        model,
        prompts.tokenizer,
        prompts.chats[margin.name],
        margin.openings,
        device=survey.device,
        trust_remote_code=survey.trust_remote_code,
    )
    _log.info("computed %s in %.1f s", axis.recipe.label, time.monotonic() - began)
    return at_the_norm_of(model.weights, {name: -tensor for name, tensor in gradient.items()})
