"""What the C library's allocator keeps to itself, given back to the system.

Weights are tensors of a few megabytes. glibc puts those into its heaps, one for each thread that loads, and what is
freed between others that stay is lost until something of its size comes: the most that a process ever held was 1.5
times what it needed (`benchmarks/scaling.py`, a model of 300 million parameters). Elsewhere than on glibc nothing is
done.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Any

__all__ = ["give_back", "mapped"]

_LIBRARY: Any = ctypes.CDLL(None) if os.name == "posix" else None
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of `mallopt`, as malloc.h numbers them."""
_SMALL = 256 * 2**10
_LARGE = 32 * 2**20
"""Bytes up to which glibc raises its threshold by itself, as blocks of such sizes are freed."""


@contextlib.contextmanager
def mapped() -> Iterator[None]:
    """Let every tensor be a mapping of its own, which the system has back as soon as it is freed.

    For loading alone: fresh mappings are filled with zeros, so it makes allocating slower.
    """
    if not hasattr(_LIBRARY, "mallopt"):
        yield
        return
    _LIBRARY.mallopt(_MMAP_THRESHOLD, _SMALL)
    try:
        yield
    finally:
        _LIBRARY.mallopt(_MMAP_THRESHOLD, _LARGE)
        _LIBRARY.mallopt(_TRIM_THRESHOLD, 2 * _LARGE)


def give_back() -> None:
    """Give back what is free: some milliseconds, where there is little of it."""
    if hasattr(_LIBRARY, "malloc_trim"):
        _LIBRARY.malloc_trim(0)
