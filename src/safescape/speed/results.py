"""The results of a benchmark: every side in a process of its own, and its figures beside the reference's."""

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
from safescape.speed.sides import REFERENCE, Side, SideTiming, Task, measure_side
from safescape.weights import Weights, resolve


class MatrixSizes(NamedTuple):
    """The numbers of weights in matrix products."""

    body: int
    """The weights of the layers."""
    head: int
    """The weights of the output head; the embedding's, if they are tied."""

    def operations(self, read: int, written: int) -> int:
        """Return the minimum of operations: 2 per weight and token, of the head for written tokens only."""
        return 2 * self.body * (read + written) + 2 * self.head * written


class SideResult(NamedTuple):
    """The figures of one side."""

    side: Side
    seconds: float
    """The time from the loaded model to the last verdict."""
    ratio: float | None
    """The speed relative to the reference procedure; None if that was not measured."""
    peak_bytes: int
    move: float
    """The median seconds of a move away from the origin."""
    share_at_origin: float
    """The fraction of the answering time that the machine's own matrix products would take; the operations are those
    of `MatrixSizes.operations`."""
    share_outside: float
    """The same fraction at the points away from the origin."""
    agreeing: int | None
    """The number of verdicts equal to the reference's; None if that was not measured."""
    verdicts: int


class Bench(NamedTuple):
    """The results of a benchmark on this machine."""

    task: Task
    machine: str
    sides: tuple[SideResult, ...]
    measured: tuple[SideTiming, ...]

    def document(self) -> dict[str, Any]:
        """Return the content of bench.json; `rate` is that of matrix products, in operations per second."""
        points = [
            {"side": each.side.name, "rate": each.rate} | {k: v for k, v in point._asdict().items() if k != "complied"}
            for each in self.measured
            for point in each.points
        ]
        sides = [each._asdict() | {"side": each.side.name} for each in self.sides]
        return {"schema": 1, "task": self.task._asdict(), "machine": self.machine, "sides": sides, "points": points}


def measure_sides(task: Task, sides: Sequence[Side], on_side: Callable[[SideTiming], None]) -> Bench:
    """Measure the sides one after another, each in a new process.

    Args:
        task: The task of every side.
        sides: The sides to measure.
        on_side: Called after each side.

    Raises:
        InputError: The model or the prompts cannot be used.
        RunError: The process of a side died.

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
    sizes = matrix_sizes(resolve(task.model).weights)
    return Bench(task, _machine(), tuple(_result(each, base, sizes) for each in measured), tuple(measured))


def _result(found: SideTiming, base: SideTiming | None, sizes: MatrixSizes) -> SideResult:
    def share(at_origin: bool) -> float:
        there = [point for point in found.points if (point.alpha == 0) is at_origin]
        floor = sum(sizes.operations(point.read, point.written) for point in there)
        seconds = sum(point.answering for point in there)
        return floor / (found.rate * seconds) if seconds else 0.0

    moves = sorted(point.moving for point in found.points if point.alpha)
    pairs = [] if base is None else list(zip(found.points, base.points, strict=True))
    same = sum(a == b for mine, theirs in pairs for a, b in zip(mine.complied, theirs.complied, strict=True))
    return SideResult(
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


def matrix_sizes(weights: Weights) -> MatrixSizes:
    """Count the weights of a checkpoint that take part in matrix products."""
    sizes = {name: weights.tensor(name).numel() for name in weights.names() if weights.tensor(name).dim() == 2}
    embeddings = {name for name in sizes if "embed" in name or "wte" in name or "wpe" in name}
    heads = [name for name in sizes if "lm_head" in name or "embed_out" in name] or sorted(
        embeddings, key=lambda name: -sizes[name]
    )[:1]
    body = sum(size for name, size in sizes.items() if name not in embeddings | set(heads))
    return MatrixSizes(body, sizes[heads[0]])


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    chip = f"{platform.machine()} with {torch.backends.cpu.get_cpu_capability()}"
    return f"{chip}, {torch.get_num_threads()} threads, {memory:.0f} GiB{gpu}; torch {torch.__version__}"
