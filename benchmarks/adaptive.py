"""python benchmarks/adaptive.py [--runs 40] [--run] [--out DIR]

Compare adaptive scans with full grids: points and answers saved, and agreement of the figures. Without `--run`:
synthetic landscapes of nine kinds, in which every prompt has its own edge; the same answers are measured as a full grid
and adaptively. With `--run`: the demo model, once with a full grid whose step is the edge tolerance, and once with
`--adaptive`.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from safescape.landscape import Metric, is_settled, plan_of, stages_of
from safescape.landscape.adaptive import first_lines
from safescape.landscape.estimates import JudgedSubspace
from safescape.survey import (
    Adaptive,
    Lines,
    MeasuredPoint,
    Outcome,
    Point,
    Position,
    PromptProbe,
    RandomAxis,
    Survey,
)

PROMPTS, LINES, STEPS, SAFE_BELOW = 80, 3, 50, 10.0
FIGURES = ("basin_radius", "visage", "safety_auc")


class Kind(NamedTuple):
    """A kind of landscape."""

    edge: tuple[float, float]
    """Range of |α| for the edge of a side."""
    spread: float
    """Scatter of the prompts' edges around it, in |α|."""
    inside: float = 0.0
    """Probability that an answer inside the basin complies."""
    outside: float = 0.0
    """Probability that an answer outside the basin refuses, or seems to."""
    again: float = 9.0
    """The |α| from which the model refuses again."""


KINDS = {
    "a step": Kind((0.08, 0.2), 0.001),
    "steep, as the demo's": Kind((0.1, 0.16), 0.012),
    "steep, and 1 % refused beyond": Kind((0.1, 0.16), 0.012, 0.0, 0.01),
    "steep, and 5 % refused beyond": Kind((0.1, 0.16), 0.012, 0.0, 0.05),
    "gradual": Kind((0.1, 0.25), 0.05),
    "wide, and sometimes without an edge": Kind((0.3, 0.6), 0.02),
    "4 % answered in the basin": Kind((0.1, 0.2), 0.012, 0.04, 0.002),
    "a third refused beyond": Kind((0.1, 0.2), 0.012, 0.0, 0.33),
    "safe again farther out": Kind((0.1, 0.16), 0.012, again=0.4),
}

Truth = Mapping[Point, NDArray[np.bool_]]
"""For each point, whether each prompt is complied with."""


def survey_of(*, adaptive: bool) -> Survey:
    """Return a survey of random lines."""
    return Survey(
        model="synthetic",
        model_fingerprint="sha256:0",
        subspace=Lines(axes=tuple(RandomAxis(seed=seed, span=0.5, steps=STEPS) for seed in range(LINES))),
        adaptive=Adaptive(directions=LINES, safe_below=SAFE_BELOW) if adaptive else None,
        probes=(PromptProbe(name="harmful", source="", prompts=tuple(str(n) for n in range(PROMPTS))),),
        judges=("keyword",),
    )


def answers_of(kind: Kind, survey: Survey, draw: np.random.Generator) -> Truth:
    """Draw the answers to all prompts at all points of a landscape."""
    edges = draw.uniform(*kind.edge, size=(LINES, 2))
    scatter = draw.logistic(0, kind.spread, size=PROMPTS)
    found = {}
    for point in survey.points():
        (alpha,) = point.coords
        edge = edges[point.line or 0, int(alpha > 0)]
        complies = (abs(alpha) > edge + scatter) & (abs(alpha) < kind.again) & bool(alpha)
        flips = draw.random(PROMPTS) < np.where(complies, kind.outside, kind.inside)
        found[point] = complies ^ flips
    return found


def measured(point: Point, complied: Iterable[bool]) -> MeasuredPoint:
    """Return a point as the store holds it."""
    outcomes = [Outcome.COMPLIED if each else Outcome.REFUSED for each in complied]
    return MeasuredPoint(point, Position(point.coords, 0.0), "harmful", {"keyword": outcomes})


def adaptively(survey: Survey, truth: Truth) -> dict[Point, MeasuredPoint]:
    """Measure the points that an adaptive survey selects."""
    stored: dict[Point, MeasuredPoint] = {}
    while wanted := plan_of(survey, stored.values()).open:
        for point in wanted:
            complied, asked = truth[point], PROMPTS
            if not point.is_origin:
                asked = next(n for n in stages_of(PROMPTS) if is_settled(complied[:n].sum(), n, PROMPTS, SAFE_BELOW))
            stored[point] = measured(point, complied[:asked])
    return stored


def figures_of(survey: Survey, stored: Mapping[Point, MeasuredPoint]) -> Mapping[str, Metric]:
    """Return the figures of a run."""
    plan = plan_of(survey, stored.values())
    by_probe = {("harmful", point): entry for point, entry in stored.items()}
    seen = JudgedSubspace.of(
        first_lines(survey, plan.lines), by_probe, survey.prompts, "keyword", SAFE_BELOW, plan.on_lines
    )
    return seen.metrics()


def within(value: float | None, metric: Metric) -> bool:
    """Return whether a value lies in another figure's interval."""
    assert value is not None
    assert metric.low is not None
    assert metric.high is not None
    return metric.low - 1e-9 <= value <= metric.high + 1e-9


def simulate(runs: int) -> None:
    """Print one table row per kind of landscape."""
    whole_survey, survey = survey_of(adaptive=False), survey_of(adaptive=True)
    total = sum(1 for _ in whole_survey.points())
    print(f"{runs} runs a kind; the grid: {total} points and {total * PROMPTS} answers on {LINES} lines")
    print(
        "in: how often the adaptive value lies in the grid's interval; holds: how often the adaptive interval holds the"
    )
    print("grid's value; own: how often the grid's own interval of VISAGE does")
    columns = [f"{name} {what}" for name in ("radius", "VISAGE", "AUC") for what in ("in", "holds")]
    print(" | ".join(["landscape", "points", "answers", *columns, "own", "VISAGE's width, grid / adaptive"]))
    for name, kind in KINDS.items():
        draw, rows = np.random.default_rng(0), []
        for _ in range(runs):
            truth = answers_of(kind, whole_survey, draw)
            whole = figures_of(whole_survey, {point: measured(point, truth[point]) for point in truth})
            stored = adaptively(survey, truth)
            found = figures_of(survey, stored)
            answers = sum(len(entry.outcomes["keyword"]) for entry in stored.values())
            row = [len(stored) / total, answers / total / PROMPTS]
            for key in FIGURES:
                row += [within(found[key].value, whole[key]), within(whole[key].value, found[key])]
            row += [within(whole["visage"].value, whole["visage"]), width(whole["visage"]), width(found["visage"])]
            rows.append(row)
        *shares, grids, adaptive = np.mean(rows, axis=0)
        print(" | ".join([name, *(f"{share:.0%}" for share in shares), f"{grids:.1f} / {adaptive:.1f}"]), flush=True)


def measure(out: Path) -> None:
    """Measure the demo model as a full grid and adaptively, and print both: 2 directions, 40 prompts, 16 tokens."""
    import safescape

    common: dict[str, Any] = {
        "prompts": "advbench",
        "limit": 40,
        "max_new_tokens": 16,
        "directions": 2,
        "judges": ("keyword",),
    }
    ways: dict[str, dict[str, Any]] = {"grid": {"steps": STEPS}, "adaptive": {"adaptive": True, "edge_tolerance": 0.02}}
    print("demo | points | answers | tokens | seconds | radius | VISAGE | safety AUC")
    for name, how in ways.items():
        start = time.monotonic()
        run = safescape.scan("demo", out=out / name, **common, **how)
        seconds = time.monotonic() - start
        with sqlite3.connect(out / name / "run.sqlite") as connection:
            points = connection.execute("SELECT count(*) FROM points").fetchone()[0]
            answers, tokens = connection.execute("SELECT count(*), sum(tokens) FROM responses").fetchone()
        radius, visage, auc = (run.landscape.metrics[key] for key in FIGURES)
        cells = [shown(radius, 3), shown(visage, 1), shown(auc, 1)]
        print(" | ".join([name, str(points), str(answers), str(tokens), f"{seconds:.0f}", *cells]), flush=True)


def shown(metric: Metric, decimals: int) -> str:
    """Format a figure with its interval."""
    return f"{metric.value:.{decimals}f} ({metric.low:.{decimals}f} to {metric.high:.{decimals}f})"


def width(metric: Metric) -> float:
    """Return the width of an interval."""
    assert metric.low is not None
    assert metric.high is not None
    return metric.high - metric.low


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.run:
        measure(given.out or Path(tempfile.mkdtemp()))
    else:
        simulate(given.runs)
