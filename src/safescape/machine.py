"""The machine: what it is, its rate of matrix products, and the memory that a process has taken."""

from __future__ import annotations

import platform
import resource
import sys
import time

import psutil
import torch


def matmul_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Return the rate of matrix products on a device, in floating-point operations per second.

    It is the best of several products of square random matrices; with constant matrices a GPU is faster, because it
    draws less power. Where products in float32 are faster, their rate counts: some CPUs compute products in bfloat16 a
    hundred times more slowly, and an engine may convert instead.
    """
    return max(_rate_in(each, device) for each in {dtype, torch.float32})


def _rate_in(dtype: torch.dtype, device: torch.device) -> float:
    """Return the rate in one data type; on a CPU the matrices grow for as long as a product is quick."""
    size, largest = (256, 2048) if device.type == "cpu" else (8192, 8192)
    seconds = _shortest_product(size, dtype, device)
    while size < largest and 8 * seconds < 0.5:
        size *= 2
        seconds = _shortest_product(size, dtype, device)
    return 2 * size**3 / seconds


def _shortest_product(size: int, dtype: torch.dtype, device: torch.device) -> float:
    """Return the shortest time of several products of two random matrices, in seconds."""
    a, b = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        a @ b
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best


def peak_bytes(device: torch.device) -> int:
    """Return the peak resident memory of this process; on a GPU, the peak of allocated memory there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def machine_text() -> str:
    """Return the processor, the memory and the GPU, and the version of torch."""
    memory = psutil.virtual_memory().total / 2**30
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    chip = f"{platform.machine()} with {torch.backends.cpu.get_cpu_capability()}"
    return f"{chip}, {torch.get_num_threads()} threads, {memory:.0f} GiB{gpu}; torch {torch.__version__}"
