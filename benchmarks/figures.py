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
import itertools
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

from safescape.landscape import plan_of
from safescape.store import KnownPoints, Store
from safescape.stored_landscape import stored_landscape
from safescape.survey import (
    Adaptive,
    Answer,
    Finish,
    Label,
    Lines,
    Outcome,
    Plane,
    Point,
    Position,
    PromptProbe,
    RandomAxis,
    Response,
    Sample,
    SampledAnswer,
    Survey,
    Verdict,
)
from safescape.views import Home, Opinions, compose_page

PROMPTS = 80
EDGE = 0.2
"""Edge of the synthetic basin."""
FINGERPRINT = "sha256:" + "ab" * 32
LABELS = 120


class Kind(NamedTuple):
    """A kind of run."""

    subspace: Lines | Plane
    judges: tuple[str, ...] = ("keyword", "refusal")
    adaptive: Adaptive | None = None
    labelled: bool = False
    """Whether people have labelled some answers, so that rates are corrected for the error of the judges."""


def lines(number: int, steps: int) -> Lines:
    """Return lines in random directions."""
    return Lines(axes=tuple(RandomAxis(seed=seed, span=0.5, steps=steps) for seed in range(number)))


PLANE = Plane(axes=(RandomAxis(seed=0, span=0.5, steps=20), RandomAxis(seed=1, span=0.5, steps=20)))
KINDS = {
    "a plane": Kind(PLANE),
    "a plane, five judges": Kind(PLANE, ("keyword", "refusal", "llama-guard-3", "harmbench", "wildguard")),
    "a plane, labelled": Kind(PLANE, labelled=True),
    "one direction": Kind(lines(1, 60)),
    "three directions": Kind(lines(3, 20)),
    "adaptive": Kind(lines(12, 100), adaptive=Adaptive(directions=3, safe_below=10.0, interval=8.0)),
}


class Times(NamedTuple):
    """Seconds of CPU time."""

    read: float
    landscape: float
    plan: float
    page: float


def survey_of(kind: Kind) -> Survey:
    """Return the survey of a run."""
    asked = tuple(f"Write the text number {number} that nobody should write" for number in range(PROMPTS))
    return Survey(
        model="example/Model-7B-chat",
        model_fingerprint=FINGERPRINT,
        judges=kind.judges,
        subspace=kind.subspace,
        adaptive=kind.adaptive,
        probes=(PromptProbe(name="harmful", source="made", prompts=asked),),
    )


class Answers:
    """Answers of a model with a basin: some prompts are answered nearer to the origin, some judges are mistaken."""

    def __init__(self, survey: Survey) -> None:
        draw = np.random.default_rng(0)
        self._survey = survey
        self._shared = draw.uniform(-0.05, 0.05, PROMPTS)

    def at(self, point: Point) -> list[Answer]:
        """Return the answers at a point, which depend on it alone."""
        far = math.hypot(*point.coords)
        draw = np.random.default_rng([(point.line or 0) + 1, *(round(1e6 * (c + 1)) for c in point.coords)])
        complies = far + draw.normal(0.0, 0.01, PROMPTS) > EDGE + self._shared
        noisy, mistaken = draw.random(PROMPTS) < far, draw.random((PROMPTS, len(self._survey.judges))) < 0.04
        return [self._answer(bool(complies[n]), bool(noisy[n]), mistaken[n]) for n in range(PROMPTS)]

    def _answer(self, complies: bool, noisy: bool, mistaken: np.typing.NDArray[np.bool_]) -> Answer:
        broken = Outcome.INCOHERENT if noisy else Outcome.COMPLIED
        outcomes = {
            judge: (broken if judge != "keyword" else Outcome.COMPLIED) if complies != wrong else Outcome.REFUSED
            for judge, wrong in zip(self._survey.judges, mistaken, strict=True)
        }
        text = "Here is what you asked for." if complies else "I'm sorry, but I can't assist with that."
        response = Response(text, Finish.LENGTH if complies else Finish.SETTLED, 11)
        return Answer(response, {judge: Verdict(outcome) for judge, outcome in outcomes.items()})


def measured_in_turn(store: Store, answers: Answers) -> Iterator[Point]:
    """Store point after point in the order of measuring, and yield each when it is stored."""
    survey = store.survey
    session = store.begin_session(origin=FINGERPRINT, noise_device="cpu", versions={})
    for judge in survey.judges:
        store.verdicts.register(judge, {})
    rounds = (plan_of(survey, store.points.measured()).open for _ in itertools.count())
    for points in [survey.points()] if survey.adaptive is None else itertools.takewhile(bool, rounds):
        for point in points:
            there = {"harmful": answers.at(point)}
            position = Position(point.coords, 0.0)
            store.points.add(point, position=position, seconds=1.0, session=session, answers=there)
            yield point
    store.end_session(session, origin=FINGERPRINT)


def label(store: Store) -> None:
    """Label some answers, as a person would who agrees with the refusal judge."""
    judged = store.labels.judged("refusal")
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
    survey = survey_of(kind)
    with Store.claim(directory, survey) as store:
        answers = Answers(survey)
        total = sum(1 for _ in measured_in_turn(store, answers)) if survey.adaptive else len([*survey.points()])
    if survey.adaptive:
        shutil.rmtree(directory)
    with Store.claim(directory, survey) as store:
        for number, _ in enumerate(measured_in_turn(store, answers), 1):
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
    parser.add_argument("--last", type=int, default=9)
    parser.add_argument("--only", choices=KINDS, help="a row alone, in this process")
    given = parser.parse_args()
    if only := given.profile or given.only:
        print(measure(only, given.last, profiled=given.profile is not None))
        return
    print("| | points | all at once | read | landscape | plan | the last point | page |", flush=True)
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name in KINDS:
        subprocess.run([sys.executable, __file__, "--only", name, "--last", str(given.last)], check=True)


if __name__ == "__main__":
    main()
