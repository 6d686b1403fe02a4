"""The live model's parameters by the checkpoint's names, written in place and read back bit-equal.

On a CPU the weights of linear layers are stored in oneDNN's blocked layout. Otherwise every matrix product would first
reorder the whole weight, which takes longer than the product itself while few answers are decoded together. The layout
has the same numbers, and there is no second copy: an embedding that is tied to the output head reads its rows from the
head's blocks. In fp32 the layout is known (`weights.RowBlocks`), and a move writes the weights into it; in other dtypes
a weight is reordered once per move.
"""

from __future__ import annotations

import ctypes
import functools
from collections import Counter
from collections.abc import Mapping, Sequence

import psutil
import torch
from torch import Tensor
from torch.nn import Embedding, Linear, Module, Parameter
from transformers import PreTrainedModel

from safescape.errors import InputError
from safescape.weights import ModelWeights, RowBlocks, views_of_parts

_ROWS = 64
"""The number of rows that oneDNN chooses the layout for; products with any other number are correct, too."""


def live_tensors(model: PreTrainedModel, weights: ModelWeights) -> dict[str, LiveTensor]:
    """Return the live tensors of the model's parameters by the checkpoint's names: tied ones once, and no buffers.

    Linear layers on a CPU are replaced by blocked ones. Parameters that transformers fuses on loading, such as experts,
    are found by their parts.

    Raises:
        InputError: The model has other parameters than the checkpoint, or the checkpoint has them in another layout.


    """
    parameters, fused = _found(model, weights)
    holders: Counter[Tensor] = Counter()
    linears: dict[Tensor, dict[str, Linear]] = {}
    embeddings: dict[Tensor, dict[str, Embedding]] = {}
    for path, module in model.named_modules():
        holders.update(module.parameters(recurse=False))
        # A subclass of either may have a forward of its own.
        if type(module) is Linear and _can_be_blocked(module.weight):
            linears.setdefault(module.weight, {})[path] = module
        elif type(module) is Embedding and module.max_norm is None:
            embeddings.setdefault(module.weight, {})[path] = module
    live = {}
    for name, parameter in parameters.items():
        blocked = {path: BlockedLinear(linear) for path, linear in linears.get(parameter, {}).items()}
        held = holders[parameter] - len(blocked)
        if len(blocked) == 1:
            (head,) = blocked.values()
            if head.order is not None:
                tied = embeddings.get(parameter, {})
                held -= len(tied)
                for path in tied:
                    model.set_submodule(path, BlockedEmbedding(head))
        for path, layer in blocked.items():
            model.set_submodule(path, layer)
        live[name] = LiveTensor(parameter, list(blocked.values()), is_shared=held > 0)
    for parameter in fused.values():
        parameter.data = parameter.data.clone()
    for parts in fused_parts(model, fused, weights).values():
        live |= {name: LivePart(part) for name, part in parts.items()}
    return live


def fused_parts(
    model: PreTrainedModel, fused: Mapping[str, Parameter], weights: ModelWeights
) -> dict[str, dict[str, Tensor]]:
    """Return the parts of each fused parameter, by their names in the checkpoint, as views of its memory.

    Args:
        model: The live model.
        fused: The parameters that the checkpoint does not hold, by their names in the model.
        weights: The checkpoint.

    Raises:
        InputError: The checkpoint lacks a part, has one of another shape, or transformers changes values on loading.

    """
    known, found = weights.inventory.parts.keys(), {}
    for live, parts in views_of_parts(model, fused).items():
        parameter = fused[live]
        if sum(part.numel() for part in parts.values()) != parameter.numel() or not parts.keys() <= known:
            raise InputError(
                f"the model's parameter {live} is stored under another name in the checkpoint; "
                "load it with transformers and save it with save_pretrained(save_original_format=False)"
            )
        _check_shapes(parts, weights)
        found[live] = parts
    return found


def _check_shapes(parts: Mapping[str, Tensor], weights: ModelWeights) -> None:
    for name, part in parts.items():
        if (shape := weights.tensor(name).shape) != part.shape:
            raise InputError(
                f"the tensor {name} has shape {tuple(shape)} in the checkpoint and {tuple(part.shape)} in the model; "
                "download the model again"
            )


class LiveTensor:
    """One tensor of the live model, held by a parameter, by blocked linear layers, or by both."""

    def __init__(self, parameter: Parameter, blocked: Sequence[BlockedLinear], *, is_shared: bool) -> None:
        self.shape, self.dtype, self.device = parameter.shape, parameter.dtype, parameter.device
        self._blocked = blocked
        self._parameter = parameter if is_shared or not blocked else None
        if self._parameter is not None:
            # The loaded data may be a view of the checkpoint's mapped file and would keep all of its pages in memory.
            parameter.data = parameter.data.clone()

    @property
    def order(self) -> RowBlocks | None:
        """The order of the values in memory; None if they lie row by row, or in several places."""
        return self._blocked[0].order if len(self._blocked) == 1 and self._parameter is None else None

    @property
    def place(self) -> Tensor | None:
        """The memory that the values may be written to in place; None if they must be passed to `write`.

        If there is an `order`, it has one dimension.
        """
        if self.order is not None:
            return self._blocked[0].memory
        return None if self._blocked or self._parameter is None else self._parameter.data

    def write(self, values: Tensor) -> None:
        """Replace all values.

        `values` has this tensor's dtype and its shape, or one dimension and its order, or is its `place`.
        """
        if values.dim() == 1 and self.order is not None:
            memory = self._blocked[0].memory
            if values.data_ptr() != memory.data_ptr():
                memory.copy_(values)
            return
        if self._parameter is not None and values.data_ptr() != self._parameter.data_ptr():
            with torch.no_grad():
                self._parameter.copy_(values)
        for layer in self._blocked:
            layer.put(values)

    def read(self) -> Tensor:
        """Return the values; the caller must not write into them."""
        return self._blocked[0].weight if self._parameter is None else self._parameter.data


class LivePart(LiveTensor):
    """A part of a live parameter, such as one expert's matrix: a view of its memory."""

    order = None

    def __init__(self, view: Tensor) -> None:
        self.shape, self.dtype, self.device = view.shape, view.dtype, view.device
        self._view = view

    @property
    def place(self) -> Tensor | None:
        """The view, if its values lie in a row."""
        return self._view if self._view.is_contiguous() else None

    def write(self, values: Tensor) -> None:
        """Replace all values."""
        if values.data_ptr() != self._view.data_ptr():
            self._view.copy_(values)

    def read(self) -> Tensor:
        """Return the values; the caller must not write into them."""
        return self._view.contiguous()


class BlockedLinear(Module):
    """A linear layer whose weight is stored in oneDNN's blocked layout."""

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        self._blocked = _blocked(linear.weight.data)
        self.order = _order_of(self.out_features, self.in_features, linear.weight.dtype, torch.get_num_threads())
        """The order of the values in `memory`; None if it is not known."""
        if self.order is not None and not torch.equal(self.order.matrix(self.memory), linear.weight.data):
            self.order = None

    @property
    def memory(self) -> Tensor:
        """The weight's memory, all values in a row; it is gone with this layer."""
        return _memory_of(self._blocked)

    def put(self, weight: Tensor) -> None:
        """Set the weight, of shape (out_features, in_features)."""
        if self.order is not None:
            self.order.write(weight, self.memory)
            return
        # The memory of the old weight is free for the new one; other memory would be filled with zeros first.
        del self._blocked
        self._blocked = _blocked(weight)

    @property
    def weight(self) -> Tensor:
        """A copy of the weight in the usual layout."""
        return self._blocked.to_dense()

    def forward(self, states: Tensor) -> Tensor:
        """Return `states @ weight.T + bias`."""
        return _product(self._blocked, self.bias, states)


class BlockedEmbedding(Module):
    """An embedding whose rows are those of a linear layer's weight, read from its memory.

    Args:
        head: A layer whose `order` is known.

    """

    def __init__(self, head: BlockedLinear) -> None:
        super().__init__()
        # The head is a submodule of the model elsewhere.
        self._heads = [head]
        self.num_embeddings, self.embedding_dim = head.out_features, head.in_features

    @property
    def weight(self) -> Tensor:
        """A copy of the rows: (tokens, width)."""
        return self._heads[0].weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the rows of tokens: (..., width)."""
        (head,) = self._heads
        assert head.order is not None
        blocks = head.memory.view(-1, head.in_features, head.order.height)
        return blocks[tokens // head.order.height, :, tokens % head.order.height]


def block_linear_layers(model: PreTrainedModel) -> None:
    """Make the linear layers of a model on a CPU multiply with a blocked copy of their current weight.

    `forward` is set on each layer itself; delete it to undo the change. Until then, the layer does not see changes of
    its weight. Nothing is done if the copies would take more than half of the free memory.
    """
    linears = [
        module
        for module in model.modules()
        if type(module) is Linear and "forward" not in vars(module) and _can_be_blocked(module.weight)
    ]
    needed = sum(linear.weight.numel() * linear.weight.element_size() for linear in linears)
    if needed > psutil.virtual_memory().available // 2:
        return
    for linear in linears:
        linear.forward = functools.partial(_product, _blocked(linear.weight.detach()), linear.bias)  # type: ignore[method-assign]


def parameters_of(model: PreTrainedModel, weights: ModelWeights) -> dict[str, Parameter]:
    """Return a model's parameters by their names in a checkpoint of it: tied ones once, and no buffers.

    Raises:
        InputError: The model has other parameters than the checkpoint, or the checkpoint has them in parts.

    """
    check_whole(weights)
    return _found(model, weights)[0]


def _found(model: PreTrainedModel, weights: ModelWeights) -> tuple[dict[str, Parameter], dict[str, Parameter]]:
    """Return the parameters that a checkpoint has whole, by its names, and the others, by the model's names."""
    live = dict(model.named_parameters())
    names = weights.inventory.parameters
    if others := sorted(names.values() - live.keys()):
        raise InputError(
            f"the checkpoint and the live model have different parameters, {others[0]} among them; report this with "
            "the model's name"
        )
    found = {stored: live.pop(name) for stored, name in names.items()}
    return found, live


def check_whole(weights: ModelWeights) -> None:
    """Raise InputError if a checkpoint stores parameters in parts, which transformers fuses when it loads them."""
    for live in sorted(weights.inventory.parts.values()):
        raise InputError(
            f"the model's parameter {live} is stored under another name in the checkpoint; "
            "load it with transformers and save it with save_pretrained(save_original_format=False)"
        )


def _can_be_blocked(weight: Tensor) -> bool:
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32


def _blocked(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS)


def _memory_of(blocked: Tensor) -> Tensor:
    """Return the memory of a blocked tensor as a row of numbers; `blocked` must outlive it."""
    size = torch.ops.mkldnn._nbytes(blocked)
    memory = (ctypes.c_byte * size).from_address(torch.ops.mkldnn.data_ptr(blocked))
    return torch.frombuffer(memory, dtype=blocked.dtype)


@functools.lru_cache
def _order_of(rows: int, columns: int, dtype: torch.dtype, threads: int) -> RowBlocks | None:
    """Return the order in which oneDNN blocks a weight; None if it is another than blocks of rows.

    It depends on the machine, on the number of threads and on the shape, and is found by blocking a matrix whose values
    tell where they come from.
    """
    del threads
    if dtype != torch.float32:
        return None
    # fp32 holds whole numbers up to 2**24; equal ones are far apart
    probe = (torch.arange(rows * columns) % (2**24 - 3)).float().view(rows, columns)
    blocked = _blocked(probe)
    memory = _memory_of(blocked)
    if memory.numel() != probe.numel():
        return None  # padded
    steps = (memory[1 : rows + 1] - memory[:rows]) % (2**24 - 3)
    height = 1 + int((steps != columns).float().argmax()) if bool((steps != columns).any()) else rows
    order = RowBlocks(rows, columns, height)
    return order if rows % height == 0 and torch.equal(order.matrix(memory), probe) else None


def _product(blocked: Tensor, bias: Tensor | None, states: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(states, blocked, bias, "none", [], "")
