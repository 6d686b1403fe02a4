"""The refusal direction of a model, and the move of its weights that removes it (Arditi et al. 2024, arXiv 2406.11717).

r is the difference of the mean residual activations after harmful and after harmless prompts, at the last token of the
chat, after one layer, normalised. Where a matrix W writes to the residual stream, (1 - r rᵀ) W no longer writes along
r. So the move that removes r is d = -r rᵀ W, for every such matrix, its bias and the embeddings. At α = 1 nothing in
the model writes along r, which is checked; at α < 0 the model writes more along it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Embedding, Linear, Parameter
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from safescape.engines.exactness import plan_of
from safescape.engines.gradient import load_origin, margins_of, requests_of
from safescape.engines.kv_cache import padded_at_end
from safescape.engines.speaker import tokens_of
from safescape.errors import InputError
from safescape.survey import Openings
from safescape.weights import Model

_log = logging.getLogger(__name__)

_WRITERS = frozenset(
    {"o_proj", "out_proj", "down_proj", "c_proj", "dense", "dense_4h_to_h", "fc2", "fc_out", "wo", "w2", "Wo"}
)
"""Names that transformers gives to the layers whose output is added to the residual stream."""
_LAST = 0.8
"""Share of the layers after which the direction is looked for: what later ones add is about the next token."""
_MOST_CHANGED = 0.1
"""Nats. The smallest margin counts of the directions whose removal changes the next token after harmless prompts by at
most so much (KL divergence); if there is none, the direction that changes it least."""
_LEFT = 1e-3
"""The largest share of the residual stream that may lie along r once it is removed; rounding leaves about 1e-6."""


class Writer(NamedTuple):
    """A parameter that writes to the residual stream."""

    parameter: Tensor
    dim: int
    """The dimension that has the width of the residual stream."""

    def along(self, direction: Tensor) -> Tensor:
        """Return what the parameter writes along a direction of unit length, in the parameter's shape."""
        values = self.parameter.detach()
        if values.dim() == 1:
            return direction * (values @ direction)
        if self.dim == 0:
            return torch.outer(direction, direction @ values)
        return torch.outer(values @ direction, direction)


class Ablation(NamedTuple):
    """The move that removes the refusal direction."""

    tensors: dict[str, Tensor]
    """By the checkpoint's names, fp32 on the CPU; what is not in it does not move."""
    found: str
    """Where the direction was found, in words."""


def refusal_ablation(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    harmful: Sequence[str],
    openings: Sequence[Openings],
    harmless: Sequence[str],
    *,
    device: str = "cpu",
    trust_remote_code: bool = False,
) -> Ablation:
    """Return the move that removes a model's refusal direction.

    The direction is the difference of means over the first two thirds of the harmful prompts. Of all layers, it is
    taken after the one whose direction, removed, leaves the smallest refusal margin on the last third, and harmless
    prompts answered as before (`_MOST_CHANGED`).

    Args:
        model: The origin.
        tokenizer: Of the model.
        harmful: At least 6 harmful prompts in the chat template.
        openings: Of answers to each of them.
        harmless: Harmless prompts in the chat template.
        device: Where it is computed.
        trust_remote_code: Whether the model's own code may run.

    Raises:
        InputError: The model cannot be loaded, stores its parameters in parts, refuses nothing, or has another
            architecture than those whose writing matrices are known.

    """
    loaded, parameters = load_origin(model, device, trust_remote_code=trust_remote_code)
    writers = _writers_of(loaded, parameters, model.name)
    caching = plan_of(loaded, model.name).caching
    kept = {name: writer.parameter.detach().clone() for name, writer in writers.items()}
    first = 2 * len(harmful) // 3
    held = requests_of(tokenizer, harmful[first:], openings[first:])
    chats, others = tokens_of(tokenizer, harmful[:first], ()), tokens_of(tokenizer, harmless, ())

    def margins() -> Tensor:
        return torch.cat(list(margins_of(loaded, held, openings[first:], caching)))

    with torch.no_grad():
        before = margins()
        if before.mean() <= 0:
            raise InputError(
                f"{model.name}: has no refusal direction to remove, as it complies: its refusal margin is positive on "
                f"{int((before > 0).sum())} of {len(before)} prompts, {float(before.mean()):.2f} nats on average; its "
                "ASR says more: scan it along random directions"
            )
        states = _last_states(loaded, chats, model.name).mean(dim=1)
        states -= _last_states(loaded, others, model.name).mean(dim=1)
        directions = torch.nn.functional.normalize(states[1:], dim=1)
        expected, without = next_tokens(loaded, others), {}
        for layer in range(max(1, int(_LAST * len(directions)))):
            with _removed(writers, kept, directions[layer]):
                without[layer] = float(margins().mean())
            _log.debug("without the direction after layer %d the margin is %.2f", layer, without[layer])
        changes: dict[int, float] = {}
        for layer in sorted(without, key=without.__getitem__):
            with _removed(writers, kept, directions[layer]):
                now = next_tokens(loaded, others)
            changes[layer] = float((expected.exp() * (expected - now)).sum(dim=-1).mean())
            if changes[layer] <= _MOST_CHANGED:
                break
        layer = min(changes, key=changes.__getitem__)
        moves = {name: -writer.along(directions[layer]).float().cpu() for name, writer in writers.items()}
        with _removed(writers, kept, directions[layer]):
            _check_removed(loaded, [*chats, *others], directions[layer], model.name)
    found = (
        f"found after layer {layer} of {len(directions)}, counted from 0; without it the refusal margin of {len(held)} "
        f"prompts is {without[layer]:.2f} nats, with it {float(before.mean()):.2f}, and the next token after harmless "
        f"prompts changes by {changes[layer]:.3f} nats"
    )
    return Ablation(moves, found)


def _writers_of(model: PreTrainedModel, parameters: Mapping[str, Parameter], name: str) -> dict[str, Writer]:
    """Return the parameters that write to the residual stream, by the checkpoint's names; tied ones once."""
    width = model.config.get_text_config().hidden_size
    stored = {id(parameter): stored for stored, parameter in parameters.items()}
    found: dict[str, Writer] = {}
    for path, module in model.named_modules():
        if isinstance(module, Embedding) and module.weight.shape[1] == width:
            found[stored[id(module.weight)]] = Writer(module.weight, 1)
        elif isinstance(module, Linear | Conv1D) and path.rpartition(".")[2] in _WRITERS:
            dim = 0 if isinstance(module, Linear) else 1
            if module.weight.shape[dim] == width:
                found[stored[id(module.weight)]] = Writer(module.weight, dim)
                if module.bias is not None:
                    found[stored[id(module.bias)]] = Writer(module.bias, 0)
    if not found:
        raise InputError(f"{name}: {_unknown(model)}")
    return found


def _unknown(model: PreTrainedModel) -> str:
    return (
        f"which matrices of {type(model).__name__} write to its residual stream is not known here, so that the refusal "
        "direction cannot be removed from its weights; give --direction gradient"
    )


@contextlib.contextmanager
def _removed(writers: Mapping[str, Writer], kept: Mapping[str, Tensor], direction: Tensor) -> Iterator[None]:
    """Remove a direction from the weights, and restore those that were `kept`."""
    for writer in writers.values():
        writer.parameter.sub_(writer.along(direction))
    yield
    for name, writer in writers.items():
        writer.parameter.copy_(kept[name])


def _last_states(model: PreTrainedModel, rows: Sequence[Sequence[int]], name: str) -> Tensor:
    """Return the residual stream at the last token of each row, before each layer and at the end.

    Shape (layers + 1, rows, width); at the end it may be normalised.
    """
    tokens, lasts = padded_at_end(rows, model.device), _lasts(rows)
    states = model(input_ids=tokens, use_cache=False, output_hidden_states=True).hidden_states
    if any(each.dim() != 3 or each.shape[:2] != tokens.shape for each in states):
        # several streams, as in Gemma 3n
        raise InputError(f"{name}: {_unknown(model)}")
    return torch.stack([each[torch.arange(len(rows)), lasts].float() for each in states])


def next_tokens(model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> Tensor:
    """Return the log-probabilities of the next token after each row: (rows, vocabulary)."""
    logits = model(input_ids=padded_at_end(rows, model.device), use_cache=False).logits
    return logits[torch.arange(len(rows)), _lasts(rows)].float().log_softmax(dim=-1)


def _lasts(rows: Sequence[Sequence[int]]) -> list[int]:
    """Return the place of each row's last token; what a row is padded with comes after it, and changes nothing."""
    return [len(row) - 1 for row in rows]


def _check_removed(model: PreTrainedModel, rows: Sequence[Sequence[int]], direction: Tensor, name: str) -> None:
    """Check that nothing of the residual stream lies along a direction, at any layer but after the final norm."""
    states = _last_states(model, rows, name)[:-1]
    share = ((states @ direction).abs() / states.norm(dim=-1)).max()
    if not share <= _LEFT:
        raise InputError(f"{name}: {_unknown(model)}")
