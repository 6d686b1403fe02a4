"""Decides how a live model attends and caches, and proves before the first answer that this is exact.

The fast way is the project's attention and a cache of keys and values that rows share. What it cannot do exactly goes
by the model's own attention, then by the model's own cache. Rules exclude what is known to be inexact; a comparison
with the model's plain forward pass, which reads whole rows by its own eager attention, excludes the rest.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from safescape.engines.attention import ATTENTION, InexactError, attend_by
from safescape.engines.decoding import batch_of
from safescape.engines.kv_cache import Caching, States, padded_at_end
from safescape.engines.own_cache import made_cache
from safescape.engines.row_lengths import needs_equal_lengths
from safescape.errors import InputError
from safescape.weights import loading, quiet

_log = logging.getLogger(__name__)


class _Rows(NamedTuple):
    """Compared prompts and the tokens with which they are continued, in sixty-fourths of the vocabulary."""

    prompts: Sequence[Sequence[int]]
    answers: Sequence[Sequence[int]]


_UNEQUAL = _Rows(((3, 5), (3, 7, 13)), ((23,), (31,)))
"""Prompts for a cache that rows share; they begin with one common token."""
_EQUAL = _Rows(((3, 7, 13), (5, 2, 11)), ((31,), (41, 43)))
"""Prompts for the model's own cache; the first row leaves the batch before the last token is read."""
_PADDED = _Rows(((7,), (3, 7, 13, 5, 2, 11, 17, 19, 29)), ((13, 31), (41,)))
"""Prompts for padding; one is longer than the kernels of convolutions, and leaves the batch first."""


class Plan(NamedTuple):
    """How a model attends and caches."""

    attention: str
    caching: Caching
    padded: bool = False
    """Whether the model's own cache is exact for prompts that are padded to one length; never tried where it is not
    needed."""


def plan_of(model: PreTrainedModel, name: str, *, precision: torch.dtype | None = None) -> Plan:
    """Return the fastest exact way to decode a live model, whose attention is set accordingly.

    Two computations that differ only in rounding may differ by `_tolerance`.

    Args:
        model: A causal language model in evaluation mode.
        name: The model, for messages.
        precision: The dtype of autocast, if it is active.

    Raises:
        InputError: The model cannot be run, or no way agrees with its plain forward pass.

    """
    _keep_weights(model)
    with torch.inference_mode(), loading(name, "cannot be run as a causal language model"):
        attend_by(model, "eager")
        expected = {_UNEQUAL: _expected(model, _UNEQUAL)}
        for plan in _plans(model, expected[_UNEQUAL].cache):
            if not attend_by(model, plan.attention) and plan.attention == ATTENTION:
                continue
            rows = _UNEQUAL if plan.caching is Caching.SHARED else _EQUAL
            if rows not in expected:
                expected[rows] = _expected(model, rows)
            try:
                found = _logits(model, rows, plan.caching, expected[rows].cache)
            except InexactError:
                continue
            if _agree(found, expected[rows], model, precision):
                return plan._replace(padded=_can_pad(model, plan, name, precision))
    raise InputError(
        f"{name}: {type(model).__name__} answers otherwise token by token than in one forward pass; expected a causal "
        "language model"
    )


def _can_pad(model: PreTrainedModel, plan: Plan, name: str, precision: torch.dtype | None) -> bool:
    """Return whether the model leaves padding out of all its states; False where padding would not be used."""
    if plan.caching is Caching.ALONE or (plan.caching is Caching.SHARED and not needs_equal_lengths(model)):
        return False
    attend_by(model, "eager")
    expected = _expected(model, _PADDED)
    attend_by(model, plan.attention)
    try:
        with loading(name, "padding is not used"):
            found = _logits(model, _PADDED, Caching.NONE if plan.caching is Caching.NONE else Caching.OWN, None)
    except InputError as error:
        # A model may fail in its own way on a mask that it does not expect.
        _log.debug("%s", error)
        return False
    return _agree(found, expected, model, precision)


def _agree(found: Tensor, expected: _Expected, model: PreTrainedModel, precision: torch.dtype | None) -> bool:
    """Return whether logits differ by rounding alone."""
    difference = _size(found - expected.logits)
    # Logits that are not finite are the canary's to report.
    return difference <= _tolerance(model, precision) * expected.noise or not math.isfinite(difference)


def set_up(model: PreTrainedModel, plan: Plan) -> None:
    """Prepare a live model for a plan that `plan_of` made for it."""
    _keep_weights(model)
    with quiet():
        attend_by(model, plan.attention)


def _keep_weights(model: PreTrainedModel) -> None:
    # RWKV divides weights in place when it is first evaluated, against overflow in fp16, and would divide moved ones.
    if getattr(model.config, "rescale_every", 0):
        model.config.rescale_every = 0


class _Expected(NamedTuple):
    logits: Tensor
    """Shape (positions, vocabulary): after each prompt, and after each token of its answer, row by row."""
    noise: float
    """The change of the logits when each number of the embedded tokens changes by one unit in its last place."""
    cache: Any
    """The cache that the model makes; None if it makes none."""


def _plans(model: PreTrainedModel, cache: Any) -> Iterator[Plan]:
    """Yield the plans that the rules allow, the fastest first."""
    plain = {DynamicLayer, DynamicSlidingWindowLayer}
    is_plain = type(cache) is DynamicCache and {type(layer) for layer in cache.layers} <= plain
    # A window of a few tokens, or a layer that caches nothing, is left to the model's own cache.
    is_plain = is_plain and all(
        layer.keys is not None and layer.keys.shape[2] == cache.get_seq_length() for layer in cache.layers
    )
    if is_plain and not getattr(model, "_is_stateful", False):
        if getattr(model.config.get_text_config(), "attn_logit_softcapping", None) is None:
            yield Plan(ATTENTION, Caching.SHARED)
        yield Plan("eager", Caching.SHARED)
    if cache is not None:
        yield Plan("eager", Caching.OWN)
        yield Plan("eager", Caching.ALONE)
    yield Plan("eager", Caching.NONE)


def _expected(model: PreTrainedModel, rows: _Rows) -> _Expected:
    """Read whole rows, and the last of them once more with noise on its embedded tokens."""
    whole = [[*prompt, *answer] for prompt, answer in zip(*_tokens(model, rows), strict=True)]
    whole.append(whole[-1])

    def add_noise(module: torch.nn.Module, given: Any, embedded: Tensor) -> Tensor:
        signs = torch.randint(0, 2, embedded.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        signs[:-1] = 0
        unit = torch.finfo(embedded.dtype).eps
        return embedded * (1 + unit * signs.to(embedded.device, embedded.dtype))

    hook = model.get_input_embeddings().register_forward_hook(add_noise)
    try:
        output = model(input_ids=padded_at_end(whole, model.device), use_cache=True)
    finally:
        hook.remove()
    answered = [
        logits[len(prompt) - 1 : len(prompt) + len(answer)]
        for logits, prompt, answer in zip(output.logits.float(), *((*some, some[-1]) for some in rows), strict=True)
    ]
    cache = made_cache(output)
    return _Expected(torch.cat(answered[:-1]), _size(answered[-1] - answered[-2]), cache and cache[1])


def _logits(model: PreTrainedModel, rows: _Rows, caching: Caching, cache: Any) -> Tensor:
    """Return the logits of `_Expected.logits` as they come token by token; `cache` is that of `_Expected`."""
    prompts, answers = _tokens(model, rows)
    found: dict[tuple[int, int], Tensor] = {}
    prefix: list[States] = []
    shared = 0
    if caching is Caching.SHARED:
        # The states of the common first token, which attends to itself alone, come from the plain pass: one pass less.
        shared = 1
        prefix = [States(layer.keys[:1, :, :1], layer.values[:1, :, :1]) for layer in cache.layers]
    longest = max(map(len, prompts)) + max(map(len, answers))
    for numbers in _batches(prompts, caching, equal_lengths=needs_equal_lengths(model, longest)):
        batch = batch_of(model, caching, [prompts[number] for number in numbers], prefix, shared)
        for step in itertools.count():
            found |= {(number, step): row for number, row in zip(numbers, batch.logits.float(), strict=True)}
            staying = [place for place, number in enumerate(numbers) if step < len(answers[number])]
            numbers = [numbers[place] for place in staying]
            if not numbers:
                break
            batch.step(staying, [answers[number][step] for number in numbers])
    return torch.stack([found[key] for key in sorted(found)])


def _batches(prompts: Sequence[Sequence[int]], caching: Caching, *, equal_lengths: bool) -> list[list[int]]:
    """Return the rows that are decoded together."""
    numbers = list(range(len(prompts)))
    if caching is Caching.ALONE or (caching is Caching.SHARED and equal_lengths):
        return [[number] for number in numbers]
    return [numbers]


def _tokens(model: PreTrainedModel, rows: _Rows) -> tuple[list[list[int]], list[list[int]]]:
    """Return the compared prompts and their answers, as tokens of the model."""
    size = model.config.get_text_config().vocab_size
    prompts, answers = ([[part * size // 64 for part in row] for row in some] for some in rows)
    return prompts, answers


def _tolerance(model: PreTrainedModel, precision: torch.dtype | None) -> float:
    """Return by how many times the noise of one rounding at the input two exact computations may differ.

    The same network amplifies both, so only roundings are counted. Of 2 blocks per layer each rounds about 10 results
    to the live dtype (normalisation, projections, rotation, scores, weights, sum, output, residual): once two numbers
    differ, each later rounding may fall otherwise. Each block also sums up to `width` products in fp32, which rounds
    like √width times in fp32 (Higham and Mary, 2019, "A new approach to probabilistic rounding error analysis",
    theorem 2.4). A rounding moves a number by up to half a unit in its last place, by 1/√12 of it on average, in both
    computations. Roundings are independent, so their squares add up.
    """
    with torch.inference_mode():
        embedded = model.get_input_embeddings()(torch.zeros(1, 1, dtype=torch.long, device=model.device))
    dtype = precision or embedded.dtype
    finer = torch.finfo(torch.float32).eps / torch.finfo(dtype).eps
    roundings = 2 * (10 + embedded.shape[-1] * finer**2)
    return math.sqrt(2 * model.config.get_text_config().num_hidden_layers * roundings / 12)


def _size(logits: Tensor) -> float:
    """Return the root of the mean square."""
    # Apple's GPUs have no fp64.
    return float(logits.cpu().double().square().mean().sqrt())
