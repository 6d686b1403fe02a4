"""What replayed steps read and write: keys, values, tokens and masks, always in the same places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from safescape.engines.prefix import States, states_of

__all__ = ["Memory"]

_READ_TOGETHER = 8192
"""So many tokens of prompts are read in one pass: enough for a GPU, and their activations are small beside weights."""


class Memory:
    """What steps read and write: always in the same places."""

    def __init__(self, model: PreTrainedModel, rows: int, slots: int) -> None:
        self._model, self.rows, self.slots = model, rows, slots
        device, dtype = model.device, model.dtype
        self.tokens = torch.zeros(rows, dtype=torch.long, device=device)
        """Taken last, a row."""
        self.positions = torch.zeros(rows, dtype=torch.long, device=device)
        """Of that token."""
        self._slot = torch.zeros(1, dtype=torch.long, device=device)
        """Where the next keys and values go, in every row."""
        self._hidden = torch.finfo(dtype).min
        self.mask = torch.full((rows, 1, 1, slots), self._hidden, dtype=dtype, device=device)
        """Added to the scores: 0 where a row may look."""
        self._layers: list[States] = []

    def read(self, prompts: Sequence[Sequence[int]], prefix: Sequence[States], shared: int) -> None:
        """Read prompts, sorted by length, behind the prefix they share; shorter ones are padded behind their end."""
        lengths = [len(prompt) for prompt in prompts]
        if not self._layers:
            self._allocate(prompts[0])
        for layer, states in zip(self._layers, prefix, strict=False):
            layer.keys[: len(prompts), :, :shared] = states.keys
            layer.values[: len(prompts), :, :shared] = states.values
        device = self.mask.device
        known = torch.tensor(lengths, device=device)
        self.mask[: len(prompts)] = torch.where(
            torch.arange(self.slots, device=device) < known[:, None], 0.0, self._hidden
        )[:, None, None].to(self.mask.dtype)
        self.positions[: len(prompts)] = known
        self._slot.fill_(max(lengths))
        start = 0
        while start < len(prompts):
            end = min(len(prompts), start + max(1, _READ_TOGETHER // (max(lengths) - shared)))
            self.tokens[start:end] = self._read(prompts[start:end], start, shared)
            start = end

    def step(self, rows: int, slots: int) -> None:
        """Read the tokens taken last and take the next ones."""
        # what lies behind a row's prompt is of another prompt until its answer is written over it
        self.mask[:rows].index_fill_(3, self._slot, 0.0)
        layers = [_StaticLayer(*self._window(layer, slice(rows), slots), self._slot) for layer in self._layers]
        output = self._model(
            input_ids=self.tokens[:rows, None],
            position_ids=self.positions[:rows, None],
            attention_mask=self.mask[:rows, :, :, :slots],
            past_key_values=_cache_of(layers),
            use_cache=True,
            logits_to_keep=1,
        )
        self.tokens[:rows].copy_(output.logits[:, -1].argmax(dim=-1))
        self.positions += 1
        self._slot += 1

    def keep(self, rows: Tensor) -> None:
        """Move some rows, in ascending order, to the first places."""
        count = len(rows)
        for layer in self._layers:
            for states in layer:
                states[:count] = states.index_select(0, rows)
        for each in (self.tokens, self.positions, self.mask):
            each[:count] = each.index_select(0, rows)

    def _allocate(self, prompt: Sequence[int]) -> None:
        """Make room for keys and values of the shapes that the model's layers have."""
        cache = DynamicCache()
        row = torch.tensor([list(prompt[:1])], device=self.mask.device)
        self._model(input_ids=row, past_key_values=cache, use_cache=True, logits_to_keep=1)
        for layer in states_of(cache):
            shape = (self.rows, layer.keys.shape[1], self.slots)
            keys = layer.keys.new_zeros((*shape, layer.keys.shape[3]))
            self._layers.append(States(keys, layer.values.new_zeros((*shape, layer.values.shape[3]))))

    def _read(self, prompts: Sequence[Sequence[int]], start: int, shared: int) -> Tensor:
        own = [prompt[shared:] for prompt in prompts]
        longest = max(map(len, own))
        device = self.mask.device
        tokens = torch.tensor([[*row, *[0] * (longest - len(row))] for row in own], device=device)
        rows = slice(start, start + len(prompts))
        layers = [_FillingLayer(*self._window(layer, rows, self.slots), shared) for layer in self._layers]
        lasts = sorted({len(row) - 1 for row in own})
        output = self._model(
            input_ids=tokens,
            past_key_values=_cache_of(layers),
            use_cache=True,
            logits_to_keep=torch.tensor(lasts, device=device),
        )
        places = torch.tensor([lasts.index(len(row) - 1) for row in own], device=device)
        taken: Tensor = output.logits.argmax(dim=-1).gather(1, places[:, None])[:, 0]
        return taken

    @staticmethod
    def _window(layer: States, rows: slice, slots: int) -> States:
        return States(layer.keys[rows, :, :slots], layer.values[rows, :, :slots])


class _StaticLayer(DynamicLayer):
    """A cache layer that puts one token's states where a tensor says, and shows all slots: a mask hides the others."""

    def __init__(self, keys: Tensor, values: Tensor, slot: Tensor) -> None:
        super().__init__()
        self.dtype, self.device = keys.dtype, keys.device
        self.keys, self.values, self._slot = keys, values, slot
        self._all = States(keys, values)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Put one token's states in and return all."""
        self._all.keys.index_copy_(2, self._slot, key_states)
        self._all.values.index_copy_(2, self._slot, value_states)
        return self._all


class _FillingLayer(DynamicLayer):
    """A cache layer whose first slots hold the prefix, and the next ones what is read now."""

    def __init__(self, keys: Tensor, values: Tensor, filled: int) -> None:
        super().__init__()
        self.dtype, self.device = keys.dtype, keys.device
        self._keys, self._values = keys, values
        self.is_initialized = True
        self._show(filled)

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Append states and return all."""
        start = self._filled
        end = start + key_states.shape[2]
        self._keys[:, :, start:end] = key_states
        self._values[:, :, start:end] = value_states
        return self._show(end)

    def _show(self, filled: int) -> tuple[Tensor, Tensor]:
        self._filled = filled
        self.keys, self.values = self._keys[:, :, :filled], self._values[:, :, :filled]
        return self.keys, self.values


def _cache_of(layers: Sequence[DynamicLayer]) -> Any:
    cache = DynamicCache()
    cache.layers = list(layers)
    return cache
