"""Key/value caches: prefixes shared by many rows, and cache layers that are written in place."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from safescape.errors import InputError

_GROWTH = 32
"""Slots that a growing layer adds at a time."""
DROP_SHARE = 8
"""Finished rows are dropped from a cache, which copies it, when they are at least an eighth of it."""


class Caching(StrEnum):
    """How a model's cache is used while answers are decoded."""

    SHARED = "shared"
    """Keys and values: a prefix is read once for many rows, and rows of unequal length share a cache."""
    OWN = "own"
    """The model's own cache."""
    ALONE = "alone"
    """The model's own cache, one prompt at a time."""
    NONE = "none"
    """No cache: a whole row is read again for each token."""


class States(NamedTuple):
    """Keys and values of one layer, each of shape (rows, heads, tokens, width)."""

    keys: Tensor
    values: Tensor


class RemainingRows:
    """The rows of a batch that remain, and the logits of their next tokens; see `decoding.VisibleBatch`."""

    _logits: Tensor
    """Shape (rows, vocabulary), finished rows included until they are dropped."""
    _remaining: list[int]

    @property
    def logits(self) -> Tensor:
        """The logits of each remaining row's next token."""
        return self._logits[self._remaining]

    def next_tokens(self) -> list[int]:
        """Return the most likely next token of each remaining row."""
        tokens: list[int] = self._logits.argmax(dim=-1).tolist()
        return [tokens[place] for place in self._remaining]


def common_prefix_length(rows: Sequence[Sequence[int]]) -> int:
    """Return the number of tokens that all rows begin with."""
    columns = zip(*rows, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))


def last_logits_only(model: PreTrainedModel, kept: int | Tensor = 1) -> dict[str, int | Tensor]:
    """Return the argument that asks a model for the logits at its last positions only; nothing if it has none."""
    return {"logits_to_keep": kept} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}


def read_prefix(model: PreTrainedModel, tokens: Sequence[int]) -> list[States]:
    """Return the states of one row, layer by layer, as `states_of` does; an empty list for no tokens."""
    if not tokens:
        return []
    cache = DynamicCache()
    row = torch.tensor([list(tokens)], device=model.device)
    model(input_ids=row, past_key_values=cache, use_cache=True, **last_logits_only(model))
    return states_of(cache)


def padded_at_end(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Return rows of token numbers, the shorter ones padded at their end: (rows, tokens)."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)


def read_rows(model: PreTrainedModel, rows: Sequence[Sequence[int]], cache: DynamicCache) -> Tensor:
    """Read rows after what a cache holds of them and return the logits after the last token of each.

    Shorter rows are padded at their end. That changes nothing for a causal model, since no token of a row reads what
    follows it; the states of the padding stay in the cache.

    Returns:
        Shape (rows, vocabulary).

    """
    lengths = [len(row) for row in rows]
    longest, kept = max(lengths), max(lengths) - min(lengths) + 1
    tokens = padded_at_end(rows, model.device)
    output = model(input_ids=tokens, past_key_values=cache, use_cache=True, **last_logits_only(model, kept))
    lasts = torch.tensor([length - 1 - longest for length in lengths])
    return output.logits[torch.arange(len(rows)), lasts]


def cache_with_prefix(prefix: Sequence[States], rows: int) -> DynamicCache:
    """Return a cache in which each of `rows` rows starts with the prefix."""
    cache = DynamicCache()
    for number, (keys, values) in enumerate(prefix):
        cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), number)
    return cache


def states_of(cache: DynamicCache) -> list[States]:
    """Return the states of a cache, layer by layer; raise InputError if a layer caches anything but keys and values."""
    states = []
    for layer in cache.layers:
        if type(layer) is not DynamicLayer or layer.keys is None or layer.values is None:
            raise InputError(f"this model caches {type(layer).__name__}; expected plain keys and values in every layer")
        states.append(States(layer.keys, layer.values))
    return states


def cache_of(layers: Sequence[DynamicLayer]) -> DynamicCache:
    """Return a cache of these layers."""
    cache = DynamicCache()
    cache.layers = list(layers)
    return cache


def allocated(like: States, rows: int, slots: int) -> States:
    """Return zeros for `rows` rows of `slots` tokens, with the heads, width, dtype and device of other states."""
    return States(*(states.new_zeros((rows, states.shape[1], slots, states.shape[3])) for states in like))


class FillingLayer(DynamicLayer):
    """A cache layer over given memory whose first `filled` slots are in use; states are appended to them in place."""

    def __init__(self, memory: States, filled: int) -> None:
        super().__init__()
        self.dtype, self.device = memory.keys.dtype, memory.keys.device
        self._memory = memory
        self.is_initialized = True
        self._show(filled)

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Append states and return all."""
        start, end = self._filled, self._filled + key_states.shape[2]
        self._memory.keys[:, :, start:end] = key_states
        self._memory.values[:, :, start:end] = value_states
        return self._show(end)

    def _show(self, filled: int) -> tuple[Tensor, Tensor]:
        self._filled = filled
        self.keys, self.values = self._memory.keys[:, :, :filled], self._memory.values[:, :, :filled]
        return self.keys, self.values


class GrowingLayer(FillingLayer):
    """A layer whose memory grows a block of slots at a time; DynamicLayer copies everything at each step.

    Prompts fill its first `slots` slots; see `place`.
    """

    def __init__(self, like: States, rows: int, slots: int) -> None:
        super().__init__(allocated(like, rows, slots + _GROWTH), slots)

    def place(self, row: int, states: States) -> None:
        """Write the states of a group of prompts into the first slots of the rows from `row` on."""
        for memory, new in zip(self._memory, states, strict=True):
            memory[row : row + new.shape[0], :, : new.shape[2]] = new

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Append states and return all."""
        if self._filled + key_states.shape[2] > self._memory.keys.shape[2]:
            self._memory = States(*(torch.nn.functional.pad(states, (0, 0, 0, _GROWTH)) for states in self._memory))
        return super().update(key_states, value_states)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows."""
        self._memory = States(*(states[indices.to(states.device)] for states in self._memory))
        self._show(self._filled)


class StaticLayer(DynamicLayer):
    """A cache layer of fixed shape for CUDA graphs, which `update` returns whole; a mask hides the unused slots.

    `slot`, of shape (1,), holds the slot of the next token's states in every row.
    """

    def __init__(self, memory: States, slot: Tensor) -> None:
        super().__init__()
        self.keys, self.values = memory
        self.dtype, self.device = memory.keys.dtype, memory.keys.device
        self._memory, self._slot = memory, slot
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write the states of one token and return all."""
        self._memory.keys.index_copy_(2, self._slot, key_states)
        self._memory.values.index_copy_(2, self._slot, value_states)
        return self._memory
