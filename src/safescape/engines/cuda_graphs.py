"""Decoding on an NVIDIA GPU: each step is captured once as a CUDA graph and replayed.

A step of a few dozen answers takes a GPU less time than Python needs to launch its kernels. A graph launches all of
them at once, but is bound to one shape and one place of every tensor. So keys and values are kept in one block of
memory for the lifetime of the engine, and one graph is captured for each number of rows and of slots: rows are halved
as answers end, slots are added a block at a time. While Python looks at the tokens of a step, the next step runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from safescape.engines.kv_cache import (
    FillingLayer,
    States,
    StaticLayer,
    allocated,
    cache_of,
    padded_at_end,
    read_prefix,
)
from safescape.engines.row_lengths import needs_equal_lengths

_BLOCK = 64
"""Slots are allocated in multiples of this."""
_SMALLEST = 8
"""Smallest captured batch; below it, a step is bound by reading the weights."""
_PREFILL_TOKENS = 8192
"""Tokens of prompts read in one pass: enough to fill a GPU, with activations that are small beside the weights."""

Step = Callable[[], None]
Capture = Callable[[Step], Step]
"""Turns a step into one that replays it."""


def supports_cuda_graphs(model: PreTrainedModel) -> bool:
    """Return whether a model is on one GPU and its step does the same work for any tokens, given mask and positions.

    Routed experts, rotary scaling by length, and layers with masks of their own do not.
    """
    text = model.config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or {}
    kinds = [each.get("rope_type", "default") for each in (rope, *rope.values()) if isinstance(each, dict)]
    routed = any(getattr(text, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts"))
    takes = inspect.signature(model.forward).parameters
    return (
        model.device.type == "cuda"
        and len({parameter.device for parameter in model.parameters()}) == 1
        and not routed
        and not {"dynamic", "longrope"} & set(kinds)
        and {"position_ids", "attention_mask", "logits_to_keep"} <= set(takes)
        and set(getattr(text, "layer_types", None) or ()) <= {"full_attention"}
        and not needs_equal_lengths(model)
    )


class GraphDecoder:
    """Holds the captured graphs and the memory that they work on.

    Args:
        model: Its weights may change but must stay at their place in memory.
        capturing: Returns a function that captures steps; by default as CUDA graphs.

    """

    def __init__(self, model: PreTrainedModel, capturing: Callable[[], Capture] | None = None) -> None:
        self.model = model
        self._capturing = capturing or (lambda: _GraphCapture(model.device))
        self._capture = self._capturing()
        self._steps: dict[tuple[int, int], Step | None] = {}
        self.memory = _GraphMemory(model, 0, 0)

    def open_batch(
        self, prompts: Sequence[Sequence[int]], prefix: Sequence[States], shared: int, max_new_tokens: int
    ) -> _GraphBatch:
        """Prefill a batch; see `decoding.OpenBatch`."""
        slots = _multiple(max(map(len, prompts)) + max_new_tokens)
        if len(prompts) > self.memory.rows or slots > self.memory.slots:
            rows, slots = max(len(prompts), self.memory.rows), max(slots, self.memory.slots)
            # Free the old memory, and the graphs that work on it, before the new one is allocated.
            self._steps.clear()
            self._capture = self._capturing()
            self.memory = _GraphMemory(self.model, 0, 0)
            self.memory = _GraphMemory(self.model, rows, slots)
        self.memory.prefill(prompts, prefix, shared)
        return _GraphBatch(self, prompts, max_new_tokens)

    def step(self, rows: int, slots: int) -> None:
        """Decode one token of the first `rows` rows, which attend to the first `slots` slots."""
        key, memory = (rows, slots), self.memory
        if key not in self._steps:
            # The first run of a shape initialises what must not be captured, such as cuBLAS workspaces.
            self._steps[key] = None
            memory.step(rows, slots)
            return
        step = self._steps[key]
        if step is None:
            step = self._steps[key] = self._capture(lambda: memory.step(rows, slots))
        step()


class _GraphBatch:
    """A batch that is decoded by graphs; see `decoding.Batch`."""

    def __init__(self, decoder: GraphDecoder, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
        self._decoder, self._max_new_tokens = decoder, max_new_tokens
        self._rows, self._filled, self._taken = len(prompts), max(map(len, prompts)), 1
        self._remaining = list(range(len(prompts)))
        """The rows that remain, by their place in memory."""
        self._transfer = _Transfer(decoder.memory.tokens[: self._rows])
        self._places = self._remaining
        """The places of the remaining rows when `_transfer` was started."""

    def next_tokens(self) -> list[int]:
        """Return the most likely next token of each remaining row; the step after it is started first."""
        arriving, places = self._transfer, self._places
        if self._taken < self._max_new_tokens:
            memory = self._decoder.memory
            self._decoder.step(self._rows, min(_multiple(self._filled + 1), memory.slots))
            self._filled, self._taken = self._filled + 1, self._taken + 1
            self._transfer = _Transfer(memory.tokens[: self._rows])
        self._places = self._remaining
        tokens = arriving.tokens()
        return [tokens[place] for place in places]

    def step(self, staying: Sequence[int], tokens: Sequence[int]) -> None:
        """Continue with some of the remaining rows, by their position; each has taken its token by itself."""
        del tokens
        self._places = [self._places[place] for place in staying]
        self._remaining = [self._remaining[place] for place in staying]
        rows = self._rows
        while rows > _SMALLEST and len(self._remaining) <= _half(rows):
            rows = _half(rows)
        if rows < self._rows:
            # Finished rows fill the batch up to a size that graphs exist for.
            remaining = set(self._remaining)
            finished = [row for row in range(self._rows) if row not in remaining]
            kept = sorted([*self._remaining, *finished[: rows - len(self._remaining)]])
            memory = self._decoder.memory
            memory.keep(torch.tensor(kept, device=memory.tokens.device))
            place_of = {row: place for place, row in enumerate(kept)}
            self._remaining = [place_of[row] for row in self._remaining]
            self._rows = rows


class _GraphMemory:
    """The tensors that steps read and write, always at the same place in memory.

    Keys and values of `slots` tokens are kept for each of `rows` rows.
    """

    def __init__(self, model: PreTrainedModel, rows: int, slots: int) -> None:
        self._model, self.rows, self.slots = model, rows, slots
        device, dtype = model.device, model.dtype
        self.tokens = torch.zeros(rows, dtype=torch.long, device=device)
        """Shape (rows,): the token that each row took last."""
        self.positions = torch.zeros(rows, dtype=torch.long, device=device)
        """Shape (rows,): the position of that token."""
        self._slot = torch.zeros(1, dtype=torch.long, device=device)
        """Shape (1,): where the next keys and values go, in every row."""
        self._hidden = torch.finfo(dtype).min
        self.mask = torch.full((rows, 1, 1, slots), self._hidden, dtype=dtype, device=device)
        """Shape (rows, 1, 1, slots): added to the attention scores; 0 where a row may attend."""
        self._layers: list[States] = []

    def prefill(self, prompts: Sequence[Sequence[int]], prefix: Sequence[States], shared: int) -> None:
        """Read prompts, sorted by length, after the prefix that they share; shorter ones are padded at their end."""
        lengths = [len(prompt) for prompt in prompts]
        if not self._layers:
            like = read_prefix(self._model, prompts[0][:1])
            self._layers = [allocated(states, self.rows, self.slots) for states in like]
        for layer, states in zip(self._layers, prefix, strict=False):
            layer.keys[: len(prompts), :, :shared] = states.keys
            layer.values[: len(prompts), :, :shared] = states.values
        known = torch.tensor(lengths, device=self.mask.device)
        is_own = torch.arange(self.slots, device=self.mask.device) < known[:, None]
        self.mask[: len(prompts)] = torch.where(is_own, 0.0, self._hidden)[:, None, None].to(self.mask.dtype)
        self.positions[: len(prompts)] = known
        self._slot.fill_(max(lengths))
        together = max(1, _PREFILL_TOKENS // (max(lengths) - shared))
        for start in range(0, len(prompts), together):
            some = prompts[start : start + together]
            self.tokens[start : start + len(some)] = self._prefill(some, start, shared)

    def step(self, rows: int, slots: int) -> None:
        """Read the tokens taken last and take the next ones."""
        # The slots after a row's prompt hold states of padding until its answer overwrites them.
        self.mask[:rows].index_fill_(3, self._slot, 0.0)
        layers = [StaticLayer(_window(layer, slice(rows), slots), self._slot) for layer in self._layers]
        output = self._model(
            input_ids=self.tokens[:rows, None],
            position_ids=self.positions[:rows, None],
            attention_mask=self.mask[:rows, :, :, :slots],
            past_key_values=cache_of(layers),
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

    def _prefill(self, prompts: Sequence[Sequence[int]], start: int, shared: int) -> Tensor:
        """Read prompts into the rows from `start` on and return the first token of each answer."""
        own = [prompt[shared:] for prompt in prompts]
        device = self.mask.device
        rows = slice(start, start + len(prompts))
        layers = [FillingLayer(_window(layer, rows, self.slots), shared) for layer in self._layers]
        lasts = sorted({len(row) - 1 for row in own})
        output = self._model(
            input_ids=padded_at_end(own, device),
            past_key_values=cache_of(layers),
            use_cache=True,
            logits_to_keep=torch.tensor(lasts, device=device),
        )
        places = torch.tensor([lasts.index(len(row) - 1) for row in own], device=device)
        return output.logits.argmax(dim=-1).gather(1, places[:, None])[:, 0]


class _GraphCapture:
    """Captures steps as CUDA graphs, which share their scratch memory because they never run at the same time."""

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


class _Transfer:
    """An asynchronous copy of tokens from the device."""

    def __init__(self, tokens: Tensor) -> None:
        self._is_async = tokens.device.type == "cuda"
        self._tokens = torch.empty(tokens.shape, dtype=tokens.dtype, pin_memory=self._is_async)
        self._tokens.copy_(tokens, non_blocking=True)
        if self._is_async:
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(tokens.device))

    def tokens(self) -> list[int]:
        """Wait for the copy and return the tokens."""
        if self._is_async:
            self._arrived.synchronize()
        return self._tokens.tolist()


def _window(layer: States, rows: slice, slots: int) -> States:
    return States(layer.keys[rows, :, :slots], layer.values[rows, :, :slots])


def _multiple(slots: int) -> int:
    return -(-slots // _BLOCK) * _BLOCK


def _half(rows: int) -> int:
    return max(_SMALLEST, -(-rows // 2))
