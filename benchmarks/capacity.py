"""python benchmarks/capacity.py [--measured DIR] [--gpu H100|H200]

Project the time of VISAGE and of a plane for models of 7, 70 and 405 billion parameters on 1, 8 and 64 GPUs, from the
measurements of benchmarks/gpu.py (docs/measured). Prints the prediction of each measured model from the other one's
rates, then the projections, then the time of each part. Formula and assumptions are in docs/capacity.md.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

PROMPTS, TOKENS_IN, TOKENS_OUT = 80, 200, 128
VISAGE, PLANE = 61, 441
"""Number of points: three lines of 20 steps and the origin; 21 by 21."""
MEASURED = Path(__file__).parents[1] / "docs" / "measured"

# assumptions, explained in docs/capacity.md
ROOM = 0.9
"""Usable share of a GPU's memory for weights, keys and values."""
FROM_HOST = 10e9
"""Bytes per second from host memory, which holds the origin's files, to one GPU."""
ALL_REDUCE = 20e-6
"""Latency in seconds among the GPUs of a group."""
LINK = 450e9
"""Bytes per second between the GPUs of one machine, each way."""
GPUS_OF_MACHINE = 8


class Gpu(NamedTuple):
    """A kind of GPU."""

    memory: float
    """Bytes."""
    bandwidth: float
    """Memory bandwidth as a share of the measured GPU's."""


GPUS = {"H100": Gpu(80e9, 3.35 / 4.8), "H200": Gpu(141e9, 1.0)}
"""From the data sheets; both have the same cores, so the measured rate of matrix products applies to both."""


class Shape(NamedTuple):
    """A dense decoder with two bytes per weight."""

    name: str
    parameters: float
    vocabulary: int
    layers: int
    width: int
    key_heads: int
    head: int = 128

    @property
    def size(self) -> float:
        """Return the bytes of the weights."""
        return 2 * self.parameters

    @property
    def slot(self) -> int:
        """Return the bytes of keys and values per token."""
        return 2 * 2 * self.layers * self.key_heads * self.head

    @property
    def held(self) -> float:
        """Return the bytes of keys and values of all complete answers of a point."""
        return PROMPTS * (TOKENS_IN + TOKENS_OUT) * self.slot


SHAPES = {
    "llama-2-7b": Shape("7B (Llama 2)", 6.738e9, 32_000, 32, 4096, 32),
    "llama-3-8b": Shape("8B (Llama 3)", 8.030e9, 128_256, 32, 4096, 8),
    "llama-3-70b": Shape("70B (Llama 3)", 70.55e9, 128_256, 80, 8192, 8),
    "llama-3-405b": Shape("405B (Llama 3.1)", 405.85e9, 128_256, 126, 16_384, 8),
}


class Rates(NamedTuple):
    """The rates measured on one GPU."""

    products: float
    """Operations per second achieved in prefill."""
    bytes: float
    """Bytes per second achieved in a decoding step."""
    noise: float
    """Seconds per parameter of a move along a random direction, with the origin on the GPU."""
    load: float
    """Bytes of weights per second until a worker is ready, including the fingerprint."""
    close: float
    """The same for returning to the origin and computing its fingerprint."""
    answers: float
    """Measured seconds for the answers of a point."""

    @classmethod
    def of(cls, found: Mapping[str, float]) -> Rates:
        """Read a file written by benchmarks/gpu.py."""
        size = found["bytes_of_weights"]
        return cls(
            products=found["peak_flops"] * found["share_of_peak_reading"],
            bytes=found["memory_bandwidth_bytes_per_s"] * found["step_share_of_memory_bandwidth"],
            noise=found["seconds_of_move"] / found["parameters"],
            load=size / found["seconds_to_load"],
            close=size / found["seconds_to_close"],
            answers=found["seconds_of_answers"],
        )


class Point(NamedTuple):
    """Seconds per part of a point."""

    move: float
    reading: float
    steps: float
    talk: float
    """Communication among the GPUs of a group, in prefill and in steps."""

    @property
    def seconds(self) -> float:
        """Return the seconds of the whole point."""
        return sum(self)


def point(shape: Shape, rates: Rates, gpu: Gpu, group: int) -> Point:
    """Return the time of a point on a group of GPUs that hold one model."""
    embedding = shape.vocabulary * shape.width
    # the embedding is a lookup, and the output head is needed only for the last token of a prompt
    reading = 2 * (shape.parameters - 2 * embedding) * PROMPTS * TOKENS_IN / (group * rates.products)
    seen = PROMPTS * (TOKENS_IN + TOKENS_OUT / 2) * shape.slot
    step = (shape.size - 2 * embedding + seen) / (group * rates.bytes * gpu.bandwidth)
    # one GPU also holds the origin; each GPU of a group receives its part, and generates all of the noise at most
    move = shape.parameters * rates.noise + (shape.size / group / FROM_HOST if group > 1 else 0.0)
    talk = sum(all_reduce(shape, group, tokens) for tokens in (PROMPTS * TOKENS_IN, *(TOKENS_OUT - 1) * [PROMPTS]))
    return Point(move, reading, (TOKENS_OUT - 1) * step, talk)


def all_reduce(shape: Shape, group: int, tokens: int) -> float:
    """Return the seconds of two all-reduces of the hidden states per layer."""
    moved = 2 * (group - 1) / group * tokens * shape.width * 2
    return 2 * shape.layers * (ALL_REDUCE + moved / LINK) if group > 1 else 0.0


def group_of(shape: Shape, gpu: Gpu) -> int:
    """Return the smallest number of GPUs, a power of two, that hold weights, keys and values."""
    return int(2 ** math.ceil(math.log2(max(1.0, (shape.size + shape.held) / (ROOM * gpu.memory)))))


def survey(shape: Shape, rates: Rates, gpu: Gpu, gpus: int, points: int) -> str:
    """Return the time of a run, or why it is impossible."""
    group = group_of(shape, gpu)
    if group > gpus:
        return "does not fit"
    if group > GPUS_OF_MACHINE:
        return "needs two machines per model: not supported"
    rounds = math.ceil(points / (gpus // group))
    each = point(shape, rates, gpu, group).seconds
    return duration(loading(shape, rates, group) + rounds * each + shape.size / rates.close)


def loading(shape: Shape, rates: Rates, group: int) -> float:
    """Return the seconds until the first move; each GPU of a group also receives whole tensors twice.

    Once to find out which parts of them it needs, and once for their norms, which scale random directions.
    """
    return shape.size / rates.load + (2 * shape.size / FROM_HOST if group > 1 else 0.0)


def predicted(measured: Mapping[str, Rates]) -> Iterator[str]:
    """Yield the table of each measured model's time, predicted from the other one's rates."""
    yield "| answers of a point | predicted from the other's rates | measured | off by |\n|---|---|---|---|"
    for name, other in (tuple(measured), tuple(measured)[::-1]):
        parts = point(SHAPES[name], measured[other], GPUS["H200"], 1)
        said, was = parts.reading + parts.steps, measured[name].answers
        yield f"| {SHAPES[name].name} | {said:.2f} s | {was:.2f} s | {said / was - 1:+.0%} |"


def table(measured: Mapping[str, Rates], kind: str) -> Iterator[str]:
    """Yield the table of projected times."""
    gpu = GPUS[kind]
    yield f"| {kind} | GPUs per model | 1 GPU | 8 GPUs | 64 GPUs |\n|---|---|---|---|---|"
    for shape, rates in planned(measured):
        for what, points in (("VISAGE", VISAGE), ("a plane", PLANE)):
            took = [survey(shape, rates, gpu, gpus, points) for gpus in (1, 8, 64)]
            yield f"| {shape.name}: {what} | {group_of(shape, gpu)} | {' | '.join(took)} |"


def parts_of(measured: Mapping[str, Rates], kind: str) -> Iterator[str]:
    """Yield the table of the parts of a point."""
    gpu = GPUS[kind]
    yield f"| {kind}, seconds | load | move | read prompts | write answers | between GPUs | per point | close |"
    yield "|---|---|---|---|---|---|---|---|"
    for shape, rates in planned(measured):
        group = group_of(shape, gpu)
        if group <= GPUS_OF_MACHINE:
            parts = point(shape, rates, gpu, group)
            each = (loading(shape, rates, group), *parts, parts.seconds, shape.size / rates.close)
            yield f"| {shape.name} on {group} | " + " | ".join(map(seconds, each)) + " |"


def planned(measured: Mapping[str, Rates]) -> Iterator[tuple[Shape, Rates]]:
    """Return the models to project, each with the rates of the measured model of the same architecture."""
    for name, like in (("llama-2-7b", "llama-2-7b"), ("llama-3-70b", "llama-3-8b"), ("llama-3-405b", "llama-3-8b")):
        yield SHAPES[name], measured[like]


def duration(seconds: float) -> str:
    """Format a duration in a suitable unit."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def seconds(value: float) -> str:
    """Format seconds with three digits."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def plan(measured: Mapping[str, Rates], kinds: tuple[str, ...] = tuple(GPUS)) -> str:
    """Return all tables."""
    tables = [predicted(measured)]
    for kind in kinds:
        tables += [table(measured, kind), parts_of(measured, kind)]
    return "\n\n".join("\n".join(lines) for lines in tables)


def read(folder: Path) -> dict[str, Rates]:
    """Return the measurements by the shape of the model."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("h200-*.json"))]
    return {each["shape"]: Rates.of(each) for each in found}


def main() -> None:
    """Print the projections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measured", type=Path, default=MEASURED)
    parser.add_argument("--gpu", choices=GPUS)
    given = parser.parse_args()
    print(plan(read(given.measured), (given.gpu,) if given.gpu else tuple(GPUS)))


if __name__ == "__main__":
    main()
