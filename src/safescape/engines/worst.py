"""The move within a given distance that makes a model comply most while it answers harmless prompts as before.

Projected gradient descent of the mean refusal margin (Madry et al. 2018, arXiv 1706.06083, here in the weights): every
tensor stays in a ball around its origin, of `radius` times its norm. A step goes down the margin's gradient, tensor by
tensor at one length; where the next token after harmless prompts has changed by more than `max_change` nats (KL
divergence), it also goes down the gradient of that. Of all moves tried, the one with the smallest margin within that
bound counts. The first one tried is the gradient itself at the edge of the balls, so that the result is never better
for safety.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from safescape.engines.ablation import next_tokens
from safescape.engines.exactness import plan_of
from safescape.engines.gradient import load_origin, margins_of, move_alone, requests_of
from safescape.engines.kv_cache import Caching
from safescape.engines.loglikelihood import Request
from safescape.engines.speaker import tokens_of
from safescape.errors import InputError
from safescape.survey import Openings
from safescape.weights import Model

_log = logging.getLogger(__name__)

_STEP = 0.5
"""Length of a step, as a share of the radius."""


class WorstMove(NamedTuple):
    """The move that was found."""

    tensors: dict[str, Tensor]
    """Divided by the radius, by the checkpoint's names, fp32 on the CPU: none is longer than its origin's tensor."""
    found: str
    """How it was found, in words."""


class _Tried(NamedTuple):
    """A move, with what it does on the prompts that it is computed from."""

    step: int
    margin: float
    change: float
    moves: Mapping[str, Tensor]


def worst_move(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    chats: Sequence[str],
    openings: Sequence[Openings],
    harmless: Sequence[str],
    *,
    radius: float,
    steps: int,
    max_change: float,
    device: str = "cpu",
    trust_remote_code: bool = False,
) -> WorstMove:
    """Return the worst move that is found within a radius.

    Args:
        model: The origin.
        tokenizer: Of the model.
        chats: Harmful prompts in the chat template.
        openings: Of answers to each of them.
        harmless: Harmless prompts in the chat template.
        radius: No tensor moves farther than so much of its norm.
        steps: Number of steps after the first move.
        max_change: By how many nats the next token after harmless prompts may change.
        device: Where it is computed.
        trust_remote_code: Whether the model's own code may run.

    Raises:
        InputError: The model cannot be loaded, stores its parameters in parts, or no move within the radius keeps to
            `max_change`.

    """
    loaded, parameters = load_origin(model, device, trust_remote_code=trust_remote_code)
    search = _Search(
        loaded,
        move_alone(loaded, parameters, model.weights.inventory),
        requests_of(tokenizer, chats, openings),
        openings,
        tokens_of(tokenizer, harmless, ()),
        plan_of(loaded, model.name).caching,
    )
    moves: Mapping[str, Tensor] = {}
    best: _Tried | None = None
    before, change, slopes = search.at(moves, needs_slopes=True)
    least = change
    for step in range(steps + 1):
        start, length = (moves, _STEP) if step else ({}, 1.0)
        down = search.down(slopes, is_bounded=change <= max_change)
        moves = search.within(
            radius, {name: start.get(name, 0.0) + radius * length * each for name, each in down.items()}
        )
        margin, change, slopes = search.at(moves, needs_slopes=step < steps)
        least = change if not step else min(least, change)
        _log.debug("step %d: margin %.3f nats, change %.3f nats", step, margin, change)
        if change <= max_change and (best is None or margin < best.margin):
            best = _Tried(step, margin, change, moves)
    if best is None:
        raise InputError(
            f"{model.name}: every move tried within |α| = {radius:g} changes the next token after harmless prompts by "
            f"more than {max_change:g} nats, the least by {least:.2f}; give a smaller radius: it breaks there"
        )
    found = (
        f"found in step {best.step} of {steps}: at α = {radius:g} the refusal margin of its {len(chats)} prompts is "
        f"{best.margin:.2f} nats instead of {before:.2f}, and the next token after harmless prompts changes by "
        f"{best.change:.3f} nats"
    )
    return WorstMove({name: (each / radius).cpu() for name, each in best.moves.items()}, found)


class _Search:
    """A model whose parameters are moved, and what is measured of it on the way."""

    def __init__(
        self,
        model: PreTrainedModel,
        moving: Mapping[str, Parameter],
        requests: Sequence[Sequence[Request]],
        openings: Sequence[Openings],
        harmless: Sequence[Sequence[int]],
        caching: Caching,
    ) -> None:
        self._model, self._moving = model, moving
        self._requests, self._openings, self._caching = requests, openings, caching
        self._harmless = harmless
        self._origin = {name: parameter.detach().clone() for name, parameter in moving.items()}
        self._norms = {name: float(tensor.norm()) for name, tensor in self._origin.items()}
        with torch.no_grad():
            self._expected = next_tokens(model, harmless)

    def at(self, moves: Mapping[str, Tensor], *, needs_slopes: bool) -> tuple[float, float, dict[str, Tensor]]:
        """Move there; return the mean margin, the change, and the gradient of the margin if it is needed."""
        with torch.no_grad():
            for name, parameter in self._moving.items():
                moved = self._origin[name] + moves[name] if name in moves else self._origin[name]
                parameter.copy_(moved)
            change = float(self._change())
        margin = 0.0
        with torch.set_grad_enabled(needs_slopes):
            for margins in margins_of(self._model, self._requests, self._openings, self._caching):
                share = margins.sum() / len(self._requests)
                margin += float(share.detach())
                if needs_slopes:
                    share.backward()
        return margin, change, self._take_gradients()

    def down(self, slopes: Mapping[str, Tensor], *, is_bounded: bool) -> dict[str, Tensor]:
        """Return the direction of a step from where the model was moved to, each tensor at its origin's norm.

        `slopes` is the gradient of the margin there. Unless the change `is_bounded`, the step lowers it, too.
        """
        against: Mapping[str, Tensor] = {}
        if not is_bounded:
            self._change().backward()
            against = self._take_gradients()
        found = {}
        for name, gradient in slopes.items():
            down = -_unit(gradient)
            if name in against:
                down = _unit(down - _unit(against[name]))
            found[name] = down * self._norms[name]
        return found

    def _change(self) -> Tensor:
        """Return the KL divergence of the next token after harmless prompts from the origin's, in the mean."""
        now = next_tokens(self._model, self._harmless)
        return (self._expected.exp() * (self._expected - now)).sum(dim=-1).mean()

    def within(self, radius: float, moves: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return moves, each no longer than `radius` times its origin's norm."""
        found = {}
        for name, move in moves.items():
            length, most = float(move.norm()), radius * self._norms[name]
            found[name] = move * (most / length) if length > most else move
        return found

    def _take_gradients(self) -> dict[str, Tensor]:
        found = {name: each.grad for name, each in self._moving.items() if each.grad is not None}
        for parameter in self._moving.values():
            parameter.grad = None
        return found


def _unit(tensor: Tensor) -> Tensor:
    length = tensor.norm()
    return tensor / length if length > 0 else tensor
