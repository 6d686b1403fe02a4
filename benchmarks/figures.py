"""python benchmarks/figures.py [--profile "a plane"] [--last 9]

Measure what the figures of a synthetic run cost: all at once, in a process that has computed none before, and when one
more point is stored, as an open page of `safescape view` and an adaptive scan ask for them. Prints Markdown, a row per
kind of run, in milliseconds of CPU time, which other processes do not lengthen. Of one more point it is the median of
some: `read` takes the point from the database, `landscape` is everything that is computed from it, `plan` the choice of
the next points. `the last point` is the landscape when a line or the plane is finished with it. `page` is the page that
the server sends, without its figures. `--profile KIND` prints one more point's landscape by function instead.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import io
import math
import pstats
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from helpers.behaviours import four_outcomes
from helpers.runs import begin_session, measured_in_turn
from helpers.surveys import TWO_JUDGES, make_survey, random_plane
from safescape.landscape import plan_of
from safescape.store import KnownPoints, Store
from safescape.stored_landscape import stored_landscape
from safescape.survey import Adaptive, Label, Lines, Outcome, Plane, Point, RandomAxis, Sample, SampledAnswer
from safescape.views import Home, Opinions, compose_page

LABELS = 120


class Kind(NamedTuple):
    """A kind of run."""

    subspace: Lines | Plane
    judges: tuple[str, ...] = TWO_JUDGES
    adaptive: Adaptive | None = None
    labelled: bool = False
    """Whether people have labelled some answers, so that rates are corrected for the error of the judges."""


def lines(number: int, steps: int) -> Lines:
    """Return lines in random directions."""
    return Lines(axes=tuple(RandomAxis(seed=seed, span=0.5, steps=steps) for seed in range(number)))


KINDS = {
    "a plane": Kind(random_plane()),
    "a plane, five judges": Kind(random_plane(), (*TWO_JUDGES, "llama-guard-3", "harmbench", "wildguard")),
    "a plane, labelled": Kind(random_plane(), labelled=True),
    "one direction": Kind(lines(1, 60)),
    "three directions": Kind(lines(3, 20)),
    "adaptive": Kind(lines(3, 100), adaptive=Adaptive(directions=3, safe_below=10.0)),
}


class Times(NamedTuple):
    """Seconds of CPU time."""

    read: float
    landscape: float
    plan: float
    page: float


def complies(probe: str, point: Point) -> float:
    """Return the share of the prompts that a model with a basin of radius 0.2 complies with."""
    return 1 / (1 + math.exp((0.2 - math.hypot(*point.coords)) / 0.02))


def stored_in_turn(store: Store) -> Iterator[Point]:
    """Store point after point, and yield each when it is stored."""
    judges = store.survey.judges
    return measured_in_turn(store, begin_session(store), judges, chance=complies, opinion=four_outcomes)


def label(store: Store) -> None:
    """Label some answers, as a person would who agrees with the refusal judge."""
    judged = [each for each in store.labels.judged("refusal") if each.outcome is not Outcome.UNSCORED]
    drawn = np.random.default_rng(1).choice(len(judged), LABELS, replace=False).tolist()
    rows = [
        SampledAnswer(judged[n].response, "near", len(judged), Label(judged[n].outcome), False) for n in sorted(drawn)
    ]
    store.labels.store_sample(Sample("refusal", "{}", 0, tuple(rows)))


Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Return the seconds of CPU time that something takes, and what it returns. The garbage collector waits."""
    gc.collect()
    gc.disable()
    began = time.process_time()
    found = work()
    seconds = time.process_time() - began
    gc.enable()
    return seconds, found


def times_of(directory: Path, known: KnownPoints, opinions: Opinions) -> Times:
    """Return what each part costs, of a run that is opened anew as by the server."""
    with Store.read(directory) as store:
        read, measured = timed(lambda: store.points.measured(known))
        whole, landscape = timed(lambda: stored_landscape(store, known=known))
        again, _ = timed(lambda: store.points.measured(known))
        plan, _ = timed(lambda: plan_of(store.survey, measured))
        assert landscape is not None
        home = Home(served=True, version="")
        page, _ = timed(lambda: compose_page(store, landscape, home, "run", opinions))
    return Times(read, whole - again, plan, page)


def fill(kind: Kind, directory: Path, last: int) -> Iterator[int]:
    """Fill a run directory, and yield the number of points that are left, at the last of them."""
    survey = make_survey(subspace=kind.subspace, judges=kind.judges, adaptive=kind.adaptive)
    with Store.claim(directory, survey) as store:
        # an adaptive scan chooses its points from what it finds
        total = sum(1 for _ in stored_in_turn(store)) if survey.adaptive else len([*survey.points()])
    shutil.rmtree(directory)
    with Store.claim(directory, survey) as store:
        for number, _ in enumerate(stored_in_turn(store), 1):
            if number == total - last and kind.labelled:
                label(store)
            if number >= total - last:
                yield total - number


def measure(name: str, last: int, *, profiled: bool) -> str:
    """Return the row of a kind of run, or the profile of its last point."""
    known, opinions, found = KnownPoints(), Opinions(), list[Times]()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch, "run")
        for left in fill(KINDS[name], directory, last):
            if left != 1 or not profiled:
                found.append(times_of(directory, known, opinions))
                continue
            with cProfile.Profile() as profiler, Store.read(directory) as store:
                stored_landscape(store, known=known)
            text = io.StringIO()
            pstats.Stats(profiler, stream=text).sort_stats("cumulative").print_stats(50)
            return text.getvalue()
    once, *more, end = found
    usual = Times(*(statistics.median(each) for each in zip(*more, strict=True)))
    seconds = (once.read + once.landscape, *usual[:3], end.landscape, usual.page)
    return " | ".join((f"| {name}", str(len(known)), *(f"{1000 * each:.1f}" for each in seconds))) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=KINDS)
    parser.add_argument("--last", type=int, default=9, help="the number of further points that are measured")
    parser.add_argument("--only", choices=KINDS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not 2 <= given.last <= 60:
        parser.error(f"--last {given.last}: expected 2 to 60, the further points that are measured")
    if only := given.profile or given.only:
        print(measure(only, given.last, profiled=given.profile is not None))
        return
    print("| | points | all at once | read | landscape | plan | the last point | page |", flush=True)
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name in KINDS:
        subprocess.run([sys.executable, __file__, "--only", name, "--last", str(given.last)], check=True)


if __name__ == "__main__":
    main()
