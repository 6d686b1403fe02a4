"""python benchmarks/intervals.py [--repetitions 100] [--steps 20] [--picture FILE]

Simulate landscapes whose true figures are known, and count how often the 95 % interval of each figure holds the truth.

A direction has an edge on each side, drawn for it. Prompt i complies at (direction, α) if |α| > edge + a·U_i + b·V_i,
where U_i is shared by all directions, V_i is drawn for each, and both are uniform on (-1, 1). Outside of the basin a
prompt that would comply is refused with a small probability, inside it complies with one. All draws are independent.

The truth of a figure is its value on the rates of the population of prompts: with one direction for this direction,
with several the mean over random directions. The radius has a second truth, where the population's ASR itself passes
the threshold, wherever the grid lies. The truth of VISAGE is its expectation over prompts of the same number, since it
depends on their number. Prints Markdown: one table per figure, by the intervals of safescape and by the percentile
bootstrap over prompts and directions that earlier versions used. 100 repetitions take about half an hour.
`--picture` prints no table: it draws the intervals of simulated scans with three directions, in seconds.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from safescape.landscape.estimates import JudgedSubspace
from safescape.landscape.figure import EVERYWHERE
from safescape.landscape.measures import basin_radius, safety_auc, visage
from safescape.survey import Lines, MeasuredPoint, Outcome, Point, Position, PromptProbe, RandomAxis, Survey

Array = NDArray[np.float64]
DIRECTIONS = (1, 3, 5, 10)
PROMPTS = (20, 40, 80, 400)
SAFE_BELOW = 10.0
_MANY = 20_000
"""Directions over which a true mean is taken."""
_DRAWS = 60
"""Draws of prompts over which the expectation of VISAGE in one direction is taken; 60 times as many over directions."""


class Shape(NamedTuple):
    """How safety is lost in a family of landscapes."""

    edges: tuple[float, float]
    """Uniform between these, independently on both sides of every direction."""
    shared: float
    """a: how much prompts differ, in all directions alike."""
    own: float
    """b: how much they differ in each direction by itself."""
    inside: float = 0.0
    """Probability that a prompt complies inside of the basin."""
    outside: float = 1.0
    """Probability that it complies outside of it."""
    one_sided: bool = False
    """Whether the basin has no edge on the positive side."""


SHAPES = {
    "step": Shape((0.08, 0.18), 0.01, 0.01),
    "steep": Shape((0.08, 0.18), 0.03, 0.03),
    "gradual": Shape((0.15, 0.30), 0.08, 0.08),
    "floor 4 %": Shape((0.08, 0.18), 0.03, 0.03, inside=0.04),
    "leak 1 %": Shape((0.08, 0.18), 0.03, 0.03, outside=0.99),
    "leak 5 %": Shape((0.08, 0.18), 0.03, 0.03, outside=0.95),
    "edges alike": Shape((0.12, 0.14), 0.03, 0.03),
    "one-sided": Shape((0.08, 0.18), 0.03, 0.03, one_sided=True),
    "noisy edge": Shape((0.26, 0.36), 0.12, 0.12, inside=0.02, outside=0.97),
    "origin at 7.5 %": Shape((0.08, 0.18), 0.03, 0.03, inside=0.075),
}


class World:
    """Landscapes of one shape on a grid of `steps` steps."""

    def __init__(self, name: str, steps: int) -> None:
        self.shape = SHAPES[name]
        self.axis = RandomAxis(seed=0, span=0.5, steps=steps)
        self.grid = np.array(self.axis.grid)
        self._name = name

    def directions(self, draw: np.random.Generator, number: int) -> Array:
        """Return the edges of random directions, shape (number, 2): on the negative and the positive side."""
        edges = draw.uniform(*self.shape.edges, size=(number, 2))
        if self.shape.one_sided:
            edges[:, 1] = np.inf
        return edges

    def rates(self, edges: Array) -> Array:
        """Return the population's ASR at every point, percent: shape (directions, points)."""
        return self._asr(np.abs(self.grid) - self._edge(edges))

    def prompts(self, draw: np.random.Generator, edges: Array, number: int) -> NDArray[np.bool_]:
        """Return whether prompts comply, shape (directions, points, prompts); the origin is the same in all of them."""
        shape, lines, points = self.shape, len(edges), len(self.grid)
        shift = shape.shared * draw.uniform(-1, 1, number) + shape.own * draw.uniform(-1, 1, (lines, 1, number))
        outside = np.abs(self.grid)[:, None] > self._edge(edges)[:, :, None] + shift
        chance = draw.random((lines, points, number))
        found: NDArray[np.bool_] = np.where(outside, chance < shape.outside, chance < shape.inside)
        found[:, points // 2] = found[0, points // 2]
        return found

    def edge_itself(self, edges: Array) -> Array:
        """Return the |α| at which the population's ASR passes the threshold, on the nearer side."""
        far = np.linspace(-0.5, 0.5, 100_001)
        beyond = self._asr(far) > SAFE_BELOW + 1e-9
        found: Array = np.clip((edges + far[beyond.argmax()]).min(axis=1), 0.0, 0.5)
        return found

    def _edge(self, edges: Array) -> Array:
        return np.where(self.grid < 0, edges[:, :1], edges[:, 1:])

    def _asr(self, beyond: Array) -> Array:
        """Return the ASR so far beyond an edge, percent; P(a·U + b·V < x) is a trapezoid's distribution function."""
        a, b = self.shape.shared, self.shape.own

        def area(side: float) -> Array:
            found: Array = np.maximum(np.minimum(beyond, 1.0) + side, 0.0) ** 2
            return found

        outside = (area(a + b) - area(a - b) - area(b - a) + area(-a - b)) / (8 * a * b)
        return np.round(100.0 * (self.shape.inside + (self.shape.outside - self.shape.inside) * outside), 9)


class Truths(NamedTuple):
    """The true figures."""

    safety_auc: float
    basin_radius: float
    edge: float
    visage: float


class Held(NamedTuple):
    """How often intervals held the truth, and how wide they were, by figure."""

    covered: dict[str, float]
    """Share in percent."""
    width: dict[str, float]
    """Mean of those that are closed."""


def truths(world: World, edges: Array, prompts: int, draw: np.random.Generator) -> Truths:
    """Return the true figures, as the mean over directions."""
    rates = world.rates(edges)
    some = edges if len(edges) == 1 else edges[: 60 * _DRAWS]
    times = _DRAWS if len(edges) == 1 else 1
    seen = [100.0 * world.prompts(draw, part, prompts).mean(axis=2) for part in np.tile(some, (times, 1))[:, None]]
    return Truths(
        float(safety_auc(rates).mean()),
        float(basin_radius(rates, world.grid, SAFE_BELOW).value.mean()),
        float(world.edge_itself(edges).mean()),
        float(np.mean([visage(asr).mean() for asr in seen])),
    )


Ends = dict[str, tuple[float, float]]
"""The ends of the interval of each figure; infinite where it is open, and everything where it is not determined."""


def by_safescape(world: World, success: NDArray[np.bool_]) -> Ends:
    """Return the intervals that a run with these answers has."""
    lines, points, prompts = success.shape
    axes = tuple(world.axis.model_copy(update={"seed": line}) for line in range(lines))
    probe = PromptProbe(name="harmful", prompts=tuple(map(str, range(prompts))), source="simulated")
    survey = Survey(model="m", model_fingerprint="sha256:0", subspace=Lines(axes=axes), probes=(probe,))
    stored = {}
    for line, place in np.ndindex(lines, points):
        alpha = float(world.grid[place])
        point = Point(line if alpha else None, (alpha,))
        outcomes = tuple(Outcome.COMPLIED if hit else Outcome.REFUSED for hit in success[line, place].tolist())
        stored[probe.name, point] = MeasuredPoint(point, Position((alpha,), 0.0), probe.name, {"keyword": outcomes}, ())
    figures = JudgedSubspace.of(survey, stored, probe, "keyword", SAFE_BELOW).figures()
    found: Ends = {name: figures[name].interval or EVERYWHERE for name in ("safety_auc", "basin_radius", "visage")}
    return {**found, "edge": found["basin_radius"]}


def by_bootstrap(world: World, success: NDArray[np.bool_]) -> Ends:
    """Return the intervals of earlier versions: percentiles over resampled prompts and, if several, directions."""
    lines, _, prompts = success.shape
    draw = np.random.default_rng(0)
    weights = draw.multinomial(prompts, np.full(prompts, 1.0 / prompts), size=500)
    chosen = np.random.default_rng(1).integers(lines, size=(lines, 500))
    asr = 100.0 * np.einsum("rn,lpn->lrp", weights, success, optimize=True) / prompts
    measures: dict[str, Callable[[Array], Array]] = {
        "safety_auc": safety_auc,
        "basin_radius": lambda asr: basin_radius(asr, world.grid, SAFE_BELOW).value,
        "visage": visage,
    }
    found = {}
    for name, measure in measures.items():
        means = np.take_along_axis(measure(asr), chosen, axis=0).mean(axis=0)
        low, high = np.quantile(means, [0.025, 0.975])
        found[name] = (float(low), float(high))
    return {**found, "edge": found["basin_radius"]}


def coverage(
    name: str,
    directions: int,
    prompts: int,
    repetitions: int,
    intervals: Callable[[World, NDArray[np.bool_]], Ends] = by_safescape,
    steps: int = 20,
) -> Held:
    """Simulate runs of one shape, and count how often their intervals hold the truth."""
    world = World(name, steps)
    draw = np.random.default_rng([directions, prompts, *name.encode()])
    mean = None if directions == 1 else _mean_truths(name, prompts, steps)
    covered = {figure: 0 for figure in Truths._fields}
    widths: dict[str, list[float]] = {figure: [] for figure in Truths._fields}
    for _ in range(repetitions):
        edges = world.directions(draw, directions)
        true = mean or truths(world, edges, prompts, draw)
        ends = intervals(world, world.prompts(draw, edges, prompts))
        for figure, truth in true._asdict().items():
            low, high = ends[figure]
            covered[figure] += low - 1e-9 <= truth <= high + 1e-9
            if np.isfinite(high - low):
                widths[figure].append(high - low)
    return Held(
        {figure: 100.0 * count / repetitions for figure, count in covered.items()},
        {figure: float(np.mean(wide)) if wide else np.inf for figure, wide in widths.items()},
    )


@functools.lru_cache(maxsize=1)
def _mean_truths(name: str, prompts: int, steps: int) -> Truths:
    world, draw = World(name, steps), np.random.default_rng([prompts, *name.encode()])
    return truths(world, world.directions(draw, _MANY), prompts, draw)


TITLES = {
    "safety_auc": "Safety AUC",
    "basin_radius": "Basin radius, as it would be on this grid with all prompts of the population",
    "edge": "Edge, where the ASR of the population passes the threshold",
    "visage": "VISAGE, its expectation at this number of prompts",
}


METHODS: dict[str, Callable[[World, NDArray[np.bool_]], Ends]] = {
    "safescape": by_safescape,
    "bootstrap": by_bootstrap,
}


def _cell(repetitions: int, steps: int, cell: tuple[str, str, int, int]) -> Held:
    method, name, directions, prompts = cell
    return coverage(name, directions, prompts, repetitions, METHODS[method], steps)


def tables(repetitions: int, steps: int) -> Iterator[str]:
    """Yield the lines of all tables. A cell has one number for each number of prompts."""
    keys = [
        (method, name, directions, n) for method, name, n, directions in product(METHODS, SHAPES, PROMPTS, DIRECTIONS)
    ]
    os.environ["OMP_NUM_THREADS"] = "1"  # read by numpy in each process
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as apart:
        # the cells of a chunk have the same true means
        held = apart.map(functools.partial(_cell, repetitions, steps), keys, chunksize=len(DIRECTIONS))
        found = dict(zip(keys, held, strict=True))
    for figure, title in TITLES.items():
        yield f"\n{title}: % of intervals that hold it, with {', '.join(map(str, PROMPTS))} prompts\n"
        yield from table(
            {key: held.covered[figure] for key, held in found.items()}, list(product(METHODS, DIRECTIONS)), PROMPTS
        )
    yield "\nMean width of safescape's intervals, mean over the shapes, with as many prompts\n"
    yield f"| figure | {' | '.join(map(str, DIRECTIONS))} |\n|---|{'---|' * len(DIRECTIONS)}"
    for figure, title in TITLES.items():
        digits = 1 if figure in ("visage", "safety_auc") else 2
        cells = [
            " ".join(
                f"{np.mean([found['safescape', name, directions, n].width[figure] for name in SHAPES]):.{digits}f}"
                for n in PROMPTS
            )
            for directions in DIRECTIONS
        ]
        yield f"| {title.split(',')[0]} | {' | '.join(cells)} |"


def table(
    covered: Mapping[tuple[str, str, int, int], float], columns: Sequence[tuple[str, int]], numbers: Sequence[int]
) -> Iterator[str]:
    """Yield the lines of a table with a row for each shape, and their mean.

    Args:
        covered: In percent, by (first part of the column, shape, second part of the column, number).
        columns: Both parts of each.
        numbers: What the numbers in a cell are for.

    """
    yield f"| shape | {' | '.join(f'{one}, {other}' for one, other in columns)} |\n|---|{'---|' * len(columns)}"
    for name in SHAPES:
        cells = [" ".join(f"{covered[one, name, other, n]:.0f}" for n in numbers) for one, other in columns]
        yield f"| {name} | {' | '.join(cells)} |"
    means = [np.mean([covered[one, name, other, n] for name in SHAPES for n in numbers]) for one, other in columns]
    yield f"| mean | {' | '.join(f'{mean:.1f}' for mean in means)} |"


def draw_picture(file: Path, runs: int = 60) -> None:
    """Draw the intervals of the safety AUC in simulated scans, by both methods, and how many hold the truth."""
    name, directions, prompts = "steep", 3, 80
    world, draw = World(name, 20), np.random.default_rng(1)
    edges = [world.directions(draw, directions) for _ in range(runs)]
    answers = [world.prompts(draw, each, prompts) for each in edges]
    truth = float(safety_auc(world.rates(world.directions(draw, _MANY))).mean())
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 4.4), sharex=True, sharey=True, layout="constrained")
    for panel, (intervals, title) in zip(
        panels, ((by_bootstrap, "percentile bootstrap"), (by_safescape, "safescape")), strict=True
    ):
        ends = [intervals(world, each)["safety_auc"] for each in answers]
        held = [low <= truth <= high for low, high in ends]
        for row, ((low, high), holds) in enumerate(zip(ends, held, strict=True)):
            panel.plot((low, high), (row, row), color="#0072b2" if holds else "#d55e00", linewidth=1.6)
        panel.axvline(truth, color="black", linewidth=1)
        panel.set_title(f"{title}: {sum(held)} of {runs} hold the truth", fontsize=10)
        panel.set_xlabel("safety AUC, 95 % interval", fontsize=9)
        panel.set_yticks([])
    panels[0].set_ylabel(f"{runs} simulated scans, {directions} directions, {prompts} prompts", fontsize=9)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)


def main() -> None:
    """Print the tables, or draw the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 2)[2])
    parser.add_argument("--repetitions", type=int, default=100, help="simulated runs for each cell")
    parser.add_argument("--steps", type=int, default=20, help="steps of the grid")
    parser.add_argument("--picture", type=Path, help="draw intervals of simulated scans into this file instead")
    given = parser.parse_args()
    if given.picture is not None:
        draw_picture(given.picture)
        return
    for line in tables(given.repetitions, given.steps):
        print(line, flush=True)


if __name__ == "__main__":
    main()
