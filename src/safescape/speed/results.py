"""Every side in turn, and how they compare."""

from __future__ import annotations

import multiprocessing
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

import psutil
import torch

from safescape.errors import RunError
from safescape.speed.sides import REFERENCE, Measured, Side, Task, measure_side
from safescape.weights import Weights, resolve

__all__ = ["Bench", "Compared", "Matrices", "compare_sides", "matrices_of"]


class Matrices(NamedTuple):
    """How many weights are multiplied with."""

    body: int
    """In the layers."""
    head: int
    """In the output head: the embedding, where it is tied."""

    def operations(self, read: int, written: int) -> int:
        """Return the fewest operations for so many tokens: 2 a weight and token, of the head only for written ones."""
        return 2 * self.body * (read + written) + 2 * self.head * written


class Compared(NamedTuple):
    """One side beside the others."""

    side: Side
    seconds: float
    """From the loaded model to the last verdict."""
    ratio: float | None
    """How many times as fast as the reference procedure; None where that was not measured."""
    peak_bytes: int
    move: float
    """Seconds, the median over the points away from the origin."""
    share_at_origin: float
    """Of the time to answer, what the machine's own matrix products would take; the floor is 2 operations a weight and
    token, of the output head only for tokens that are written."""
    share_outside: float
    """The same at the points away from the origin."""
    agreeing: int | None
    """Verdicts that are the reference's; None where that was not measured."""
    verdicts: int


class Bench(NamedTuple):
    """What this machine reaches."""

    task: Task
    machine: str
    sides: tuple[Compared, ...]
    measured: tuple[Measured, ...]

    def document(self) -> dict[str, Any]:
        """Return it as bench.json has it; `rate` is of matrix products, operations a second."""
        points = [
            {"side": each.side.name, "rate": each.rate} | {k: v for k, v in point._asdict().items() if k != "complied"}
            for each in self.measured
            for point in each.points
        ]
        sides = [each._asdict() | {"side": each.side.name} for each in self.sides]
        return {"schema": 1, "task": self.task._asdict(), "machine": self.machine, "sides": sides, "points": points}


def compare_sides(task: Task, sides: Sequence[Side], on_side: Callable[[Measured], None]) -> Bench:
    """Measure the sides one after another, each in a fresh process.

    Args:
        task: What each measures.
        sides: Which ones.
        on_side: Told after each.

    Raises:
        InputError: the model or the prompts cannot be used.
        RunError: a side's process died.

    """
    measured = []
    for side in sides:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
            try:
                measured.append(apart.submit(measure_side, task, side).result())
            except BrokenProcessPool as error:
                raise RunError(f"{side.name}: its process died, perhaps for want of memory; lower --limit") from error
        on_side(measured[-1])
    base = next((each for each in measured if each.side == REFERENCE), None)
    matrices = matrices_of(resolve(task.model).weights)
    return Bench(task, _machine(), tuple(_compared(each, base, matrices) for each in measured), tuple(measured))


def _compared(found: Measured, base: Measured | None, matrices: Matrices) -> Compared:
    def share(at_origin: bool) -> float:
        there = [point for point in found.points if (point.alpha == 0) is at_origin]
        floor = sum(matrices.operations(point.read, point.written) for point in there)
        seconds = sum(point.answering for point in there)
        return floor / (found.rate * seconds) if seconds else 0.0

    moves = sorted(point.moving for point in found.points if point.alpha)
    pairs = [] if base is None else list(zip(found.points, base.points, strict=True))
    same = sum(a == b for mine, theirs in pairs for a, b in zip(mine.complied, theirs.complied, strict=True))
    return Compared(
        side=found.side,
        seconds=found.seconds,
        ratio=None if base is None else base.seconds / found.seconds,
        peak_bytes=found.peak_bytes,
        move=moves[len(moves) // 2] if moves else 0.0,
        share_at_origin=share(True),
        share_outside=share(False),
        agreeing=None if base is None else same,
        verdicts=sum(len(point.complied) for point in found.points),
    )


def matrices_of(weights: Weights) -> Matrices:
    """Count the weights of a checkpoint that are multiplied with."""
    sizes = {name: weights.tensor(name).numel() for name in weights.names() if weights.tensor(name).dim() == 2}
    embeddings = {name for name in sizes if "embed" in name or "wte" in name or "wpe" in name}
    heads = [name for name in sizes if "lm_head" in name or "embed_out" in name] or sorted(
        embeddings, key=lambda name: -sizes[name]
    )[:1]
    body = sum(size for name, size in sizes.items() if name not in embeddings | set(heads))
    return Matrices(body, sizes[heads[0]])


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    chip = f"{platform.machine()} with {torch.backends.cpu.get_cpu_capability()}"
    return f"{chip}, {torch.get_num_threads()} threads, {memory:.0f} GiB{gpu}; torch {torch.__version__}"
