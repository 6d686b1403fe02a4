"""Layers whose weights are stored in oneDNN's blocked layout, on a CPU.

Otherwise every matrix product would first reorder the whole weight, which takes longer than the product itself while
few answers are decoded together. The layout has the same numbers. In fp32 it is known (`weights.RowBlocks`): a move
writes the weights into it, and an embedding that is tied to the output head reads its rows from the head's blocks. In
other dtypes a weight is reordered once per move.
"""

from __future__ import annotations

import ctypes
import functools

import psutil
import torch
from torch import Tensor
from torch.nn import Linear, Module
from transformers import PreTrainedModel

from safescape.weights import RowBlocks

_ROWS = 64
"""The number of rows that oneDNN chooses the layout for; products with any other number are correct, too."""


class BlockedLinear(Module):
    """A linear layer whose weight is stored in oneDNN's blocked layout."""

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        self._blocked = _blocked(linear.weight.data)
        self.order = _order_of(self.out_features, self.in_features, linear.weight.dtype, torch.get_num_threads())
        """The order of the values in `memory`; None if it is not known, and oneDNN alone writes them."""
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
        if type(module) is Linear and "forward" not in vars(module) and can_be_blocked(module.weight)
    ]
    needed = sum(linear.weight.numel() * linear.weight.element_size() for linear in linears)
    if needed > psutil.virtual_memory().available // 2:
        return
    for linear in linears:
        linear.forward = functools.partial(_product, _blocked(linear.weight.detach()), linear.bias)  # type: ignore[method-assign]


def can_be_blocked(weight: Tensor) -> bool:
    """Return whether oneDNN has a blocked layout for a weight on this machine."""
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

    It depends on the machine, on the shape, and on the number of threads, which is an argument for the cache alone. It
    is found by blocking a matrix whose values tell where they come from.
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
    steps = memory[: rows + 1].diff() % (2**24 - 3)
    height = 1 + int((steps != columns).float().argmax()) if bool((steps != columns).any()) else rows
    order = RowBlocks(rows, columns, height)
    return order if rows % height == 0 and torch.equal(order.matrix(memory), probe) else None


def _product(blocked: Tensor, bias: Tensor | None, states: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(states, blocked, bias, "none", [], "")
