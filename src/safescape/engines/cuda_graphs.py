"""Answers decoded on an NVIDIA GPU: each step is captured once as a CUDA graph and replayed.

A step of a few dozen answers takes a GPU less time than Python needs to launch its kernels. A graph launches them all
at once, but knows one shape and one place of every tensor. So keys and values stand in one block of memory that lasts
as long as the engine, and a graph is captured for each number of rows and of slots that answers come by; both are few,
for rows are halved and slots are added a block at a time. While Python looks at a step's tokens, the next step runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from safescape.engines.decoding import needs_equal_lengths
from safescape.engines.kv_cache import States, states_of

__all__ = ["Memory", "Replayer", "is_replayable"]

_BLOCK = 64
"""Slots are counted in blocks of so many."""
_FEWEST = 8
"""Fewer rows than this are not worth a graph of their own: reading the weights is what a step takes then."""
Step = Callable[[], None]
Capture = Callable[[Step], Step]


def is_replayable(model: PreTrainedModel) -> bool:
    """Whether a model's step does the same work for any tokens, with the mask and the positions that it is given."""
    text = model.config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or {}
    kinds = [each.get("rope_type", "default") for each in (rope, *rope.values()) if isinstance(each, dict)]
    routed = any(getattr(text, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts"))
    takes = inspect.signature(model.forward).parameters
    return (
        model.device.type == "cuda"
        and not routed
        and not {"dynamic", "longrope"} & set(kinds)
        and {"position_ids", "attention_mask", "logits_to_keep"} <= set(takes)
        and set(getattr(text, "layer_types", None) or ()) <= {"full_attention"}
        and not needs_equal_lengths(model)
    )


class Replayer:
    """Holds the graphs and the memory they work on.

    Args:
        model: Whose weights stay where they are in memory; they may change.
        capturing: Makes what turns a step into one that replays it; by default, as a CUDA graph.

    """

    def __init__(self, model: PreTrainedModel, capturing: Callable[[], Capture] | None = None) -> None:
        self.model = model
        self._capturing = capturing or (lambda: _Capture(model.device))
        self._capture = self._capturing()
        self._steps: dict[tuple[int, int], Step | None] = {}
        self.memory = Memory(model, 0, 0)

    def rows(
        self, prompts: Sequence[Sequence[int]], prefix: Sequence[States], shared: int, max_new_tokens: int
    ) -> _Rows:
        """Read prompts and return their answers, each about to take its first token."""
        slots = _up(max(map(len, prompts)) + max_new_tokens, _BLOCK)
        if len(prompts) > self.memory.rows or slots > self.memory.slots:
            rows, slots = max(len(prompts), self.memory.rows), max(slots, self.memory.slots)
            # the old memory goes before the new one comes, and what was captured worked on it
            self._steps.clear()
            self._capture = self._capturing()
            self.memory = Memory(self.model, 0, 0)
            self.memory = Memory(self.model, rows, slots)
        self.memory.read(prompts, prefix, shared)
        return _Rows(self, prompts, max_new_tokens)

    def step(self, rows: int, slots: int) -> None:
        """Go one token on with the first so many rows, which see the first so many slots."""
        key = (rows, slots)
        if key not in self._steps:
            # the first time warms up what must not be captured
            self._steps[key] = None
            self.memory.step(rows, slots)
            return
        step = self._steps[key]
        if step is None:
            memory = self.memory
            step = self._steps[key] = self._capture(lambda: memory.step(rows, slots))
        step()


class _Capture:
    """Captures steps as CUDA graphs that share their scratch memory, because they never run at the same time."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Step) -> Step:
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self._stream.device)
        with torch.cuda.stream(self._stream):
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            step()
            graph.capture_end()
        return graph.replay


class _Rows:
    """The answers of a batch while they are decoded; see `decoding.Rows`."""

    def __init__(self, replayer: Replayer, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
        self._replayer, self._most = replayer, max_new_tokens
        self._rows, self._filled, self._taken = len(prompts), max(map(len, prompts)), 1
        self._inside = list(range(len(prompts)))
        self._coming = _Coming(replayer.memory.tokens[: self._rows])
        self._places = self._inside

    def next_tokens(self) -> list[int]:
        """The most likely next token of each row that is still in; the step after it has begun meanwhile."""
        arriving, places = self._coming, self._places
        if self._taken < self._most:
            memory = self._replayer.memory
            self._replayer.step(self._rows, min(_up(self._filled + 1, _BLOCK), memory.slots))
            self._filled, self._taken = self._filled + 1, self._taken + 1
            self._coming = _Coming(memory.tokens[: self._rows])
        self._places = self._inside
        tokens = arriving.tokens()
        return [tokens[place] for place in places]

    def step(self, staying: Sequence[int], tokens: Sequence[int]) -> None:
        """Go on with some of the rows that were in, each with the token that it took."""
        del tokens  # each row goes on with the one that it took by itself
        self._places = [self._places[place] for place in staying]
        self._inside = [self._inside[place] for place in staying]
        rows = self._rows
        while rows > _FEWEST and len(self._inside) <= _half(rows):
            rows = _half(rows)
        if rows < self._rows:
            # whoever left fills up the number that graphs are there for
            inside = set(self._inside)
            left = [row for row in range(self._rows) if row not in inside]
            kept = sorted([*self._inside, *left[: rows - len(self._inside)]])
            memory = self._replayer.memory
            memory.keep(torch.tensor(kept, device=memory.tokens.device))
            where = {row: place for place, row in enumerate(kept)}
            self._inside = [where[row] for row in self._inside]
            self._rows = rows


class _Coming:
    """Tokens on their way from the device."""

    def __init__(self, tokens: Tensor) -> None:
        self._is_async = tokens.device.type == "cuda"
        self._tokens = torch.empty(tokens.shape, dtype=tokens.dtype, pin_memory=self._is_async)
        self._tokens.copy_(tokens, non_blocking=True)
        if self._is_async:
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(tokens.device))

    def tokens(self) -> list[int]:
        """Wait for them."""
        if self._is_async:
            self._arrived.synchronize()
        tokens: list[int] = self._tokens.tolist()
        return tokens


def _up(number: int, block: int) -> int:
    return -(-number // block) * block


def _half(rows: int) -> int:
    return max(_FEWEST, -(-rows // 2))


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
