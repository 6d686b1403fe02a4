"""python benchmarks/strict_intervals.py [--repetitions 100]

Simulate landscapes in which safety and capability end at known distances, and count how often the 95 % intervals of
the capability radius, the gap and the strict AUC hold the truth. Prints Markdown.

Safety ends as in benchmarks/intervals.py. Capability ends, on each side of each direction, at a distance c that is
drawn for it: at α the loss is (|α| / c)² times the allowed one. A perplexity is of texts whose nats per token rise,
each by a share of its own more or less; an accuracy of questions that are answered correctly at the origin with a
probability of 0.7. With one direction the truth is about this direction, with several it is the mean over random
directions. 100 repetitions take about ten minutes.
"""

from __future__ import annotations

import argparse
import functools
import math
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
from intervals import SHAPES, Array, World, table

from safescape.landscape import landscape_of
from safescape.survey import (
    REFUSAL,
    ChoiceProbe,
    Lines,
    MeasuredPoint,
    Outcome,
    PerplexityProbe,
    Point,
    Position,
    Probe,
    PromptProbe,
    Question,
    Score,
    Survey,
)

Kind = Literal["perplexity", "accuracy"]
KINDS: tuple[Kind, ...] = ("perplexity", "accuracy")
DIRECTIONS = (1, 3, 5)
ITEMS = (20, 40, 80)
FIGURES = {
    "capability_radius": "Capability radius: where the population's loss passes 10 %",
    "gap": "Gap: where safety ends less where capability ends, on the worse side",
    "strict_auc": "Strict AUC: over the points that are able by the population's loss",
}
_RIGHT = 0.7
"""Probability of a right answer at the origin."""
_SPREAD = 0.5
"""How much the items' losses differ, as a standard deviation."""
_MANY = 20_000
_LOSS = 0.1


class Ends(NamedTuple):
    """Where safety and capability end in directions: shape (directions, 2), at α < 0 and at α > 0."""

    safety: Array
    """The edge of the population's basin, as `World` draws it."""
    capability: Array


def drawn(world: World, draw: np.random.Generator, number: int) -> Ends:
    """Return the ends in random directions."""
    return Ends(world.directions(draw, number), draw.uniform(0.06, 0.26, size=(number, 2)))


def truths(world: World, ends: Ends) -> dict[str, float]:
    """Return the true figures, as the mean over directions."""
    safety = np.stack([world.edge_itself(side[:, None]) for side in ends.safety.T], axis=1)
    distance = np.abs(world.grid)
    able = distance <= np.where(world.grid < 0, ends.capability[:, :1], ends.capability[:, 1:])
    rates = world.rates(ends.safety)
    return {
        "capability_radius": float(ends.capability.min(axis=1).mean()),
        "gap": float((safety - ends.capability).min(axis=1).mean()),
        "strict_auc": float(np.mean((able * (100.0 - rates)).sum(axis=1) / able.sum(axis=1))),
    }


def measured(
    world: World, kind: Kind, ends: Ends, prompts: int, items: int, draw: np.random.Generator
) -> tuple[Survey, list[MeasuredPoint]]:
    """Return a survey over random directions, and what a run of it stores."""
    success = world.prompts(draw, ends.safety, prompts)
    lines = len(success)
    distance = np.abs(world.grid) / np.where(world.grid < 0, ends.capability[:, :1], ends.capability[:, 1:])
    own = 1.0 + _SPREAD * draw.standard_normal(items)
    scores = (_perplexities if kind == "perplexity" else _answers)(distance, own, draw)
    harmful = PromptProbe(name="harmful", prompts=tuple(map(str, range(prompts))), source="simulated")
    capability = _probe(kind, items)
    axes = tuple(world.axis.model_copy(update={"seed": line}) for line in range(lines))
    survey = Survey(
        model="m",
        model_fingerprint="sha256:0",
        subspace=Lines(axes=axes),
        probes=(harmful, capability),
        judges=(REFUSAL,),
    )
    stored = {}
    for line, place in np.ndindex(lines, len(world.grid)):
        alpha = float(world.grid[place])
        point = Point(line if alpha else None, (alpha,))
        outcomes = [Outcome.COMPLIED if hit else Outcome.REFUSED for hit in success[line, place].tolist()]
        there = point, Position((alpha,), 0.0)
        stored[harmful.name, point] = MeasuredPoint(*there, harmful.name, {REFUSAL: tuple(outcomes)}, ())
        stored[capability.name, point] = MeasuredPoint(*there, capability.name, {}, scores[line][place])
    return survey, list(stored.values())


def _probe(kind: Kind, items: int) -> Probe:
    if kind == "perplexity":
        return PerplexityProbe(name="capability", source="simulated", texts=tuple(map(str, range(items))))
    question = Question(context="q", options=("a", "b"), answer=0)
    return ChoiceProbe(name="capability", source="simulated", questions=(question,) * items)


def _perplexities(distance: Array, own: Array, draw: np.random.Generator) -> list[list[tuple[Score, ...]]]:
    """Return the scores by line and point; at distance 1 the population's perplexity has risen by 10 %."""
    tokens = draw.integers(20, 120, size=len(own))
    begin = draw.normal(3.0, 0.5, size=len(own))
    nats = tokens * (begin + math.log(1.0 + _LOSS) * distance[:, :, None] ** 2 * own)
    return [[tuple(map(Score, there.tolist(), tokens.tolist())) for there in line] for line in nats]


def _answers(distance: Array, own: Array, draw: np.random.Generator) -> list[list[tuple[Score, ...]]]:
    """Return the scores by line and point; at distance 1 a tenth of the right answers is lost."""
    begin = draw.random(len(own))
    left = np.clip(1.0 - _LOSS * distance[:, :, None] ** 2, 0.0, 1.0)
    right = begin < _RIGHT * left
    return [[tuple(Score(float(hit), 1) for hit in there.tolist()) for there in line] for line in right]


def coverage(kind: Kind, shape: str, directions: int, items: int, repetitions: int) -> dict[str, float]:
    """Return in how many percent of simulated runs each interval holds the truth."""
    world, draw = World(shape, 20), np.random.default_rng([directions, items, *f"{kind} {shape}".encode()])
    mean = None if directions == 1 else _mean_truths(shape)
    held = dict.fromkeys(FIGURES, 0)
    for _ in range(repetitions):
        ends = drawn(world, draw, directions)
        true = mean or truths(world, ends)
        survey, stored = measured(world, kind, ends, items, items, draw)
        (figures,) = landscape_of(survey, stored).strict.values()
        for name, truth in true.items():
            metric = getattr(figures, name)
            low, high = (
                -math.inf if metric.low is None else metric.low,
                math.inf if metric.high is None else metric.high,
            )
            held[name] += low - 1e-9 <= truth <= high + 1e-9
    return {name: 100.0 * count / repetitions for name, count in held.items()}


@functools.lru_cache
def _mean_truths(shape: str) -> dict[str, float]:
    world, draw = World(shape, 20), np.random.default_rng([*shape.encode()])
    return truths(world, drawn(world, draw, _MANY))


def _cell(repetitions: int, cell: tuple[Kind, str, int, int]) -> dict[str, float]:
    return coverage(*cell, repetitions)


def tables(repetitions: int) -> Iterator[str]:
    """Yield the lines of all tables. A cell has one number for each number of items."""
    keys = list(product(KINDS, SHAPES, DIRECTIONS, ITEMS))
    os.environ["OMP_NUM_THREADS"] = "1"  # read by numpy in each process
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as apart:
        found = dict(zip(keys, apart.map(functools.partial(_cell, repetitions), keys), strict=True))
    for figure, title in FIGURES.items():
        yield f"\n{title}: % of intervals that hold it, with {', '.join(map(str, ITEMS))} prompts and items\n"
        yield from table(
            {key: covered[figure] for key, covered in found.items()}, list(product(KINDS, DIRECTIONS)), ITEMS
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=100, help="simulated runs for each cell")
    for line in tables(parser.parse_args().repetitions):
        print(line, flush=True)


if __name__ == "__main__":
    main()
