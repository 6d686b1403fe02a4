"""Computed directions of a survey: each is computed once from its recipe and the origin, and found again after that."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping

from torch import Tensor

from safescape.engines import margin_gradient
from safescape.errors import InputError
from safescape.measure.chats import RenderedPrompts
from safescape.survey import ComputedAxis, Survey
from safescape.weights import Model, at_the_norm_of, compute_direction

_log = logging.getLogger(__name__)


def with_directions(survey: Survey, model: Model) -> Survey:
    """Return a survey whose computed axes have the fingerprints of their directions, which lie in the cache.

    Raises:
        InputError: a direction cannot be computed, or is another one than that with which the run was begun.

    """
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
