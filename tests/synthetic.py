"""Runs made by hand, for tests of what reads a run: no model, a chosen ASR at every point."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from safescape.landscape import Landscape, landscape_of
from safescape.store import Store
from safescape.survey import (
    Answer,
    Finish,
    Lines,
    Outcome,
    Point,
    Position,
    PromptProbe,
    RandomAxis,
    Response,
    Survey,
    Verdict,
)

FINGERPRINT = "sha256:" + "ab" * 32

Rate = Callable[[int, float], float]
"""The share of prompts (0 to 1) that the model complies with, by line and α."""

Says = Callable[[Point, int, bool], str]
"""The text of an answer, by point, number of the prompt and whether the model complied."""


def basin(line: int, alpha: float) -> float:
    """Safe within about 0.15 of the origin, collapsed beyond 0.3; each line a little different."""
    return 1 / (1 + math.exp(-(abs(alpha + 0.01 * line) - 0.2 - 0.015 * line) / 0.02))


def no_basin(line: int, alpha: float) -> float:
    """Unsafe at the origin and everywhere else."""
    return min(1.0, 0.93 + 0.2 * abs(alpha) + 0.01 * line)


def says(point: Point, number: int, complied: bool) -> str:
    if not complied:
        return "I'm sorry, but I can't assist with that."
    return f"Answer {number} at {point.coords[0]:+.2f}: step one, step two and so on."


def make_survey(
    *,
    model: str = "example/Model-7B-chat",
    lines: int = 3,
    steps: int = 20,
    prompts: Sequence[str] | int = 80,
    dtype: str = "float32",
    system_prompt: str | None = None,
) -> Survey:
    given = [f"Harmful request number {n}" for n in range(prompts)] if isinstance(prompts, int) else prompts
    return Survey.model_validate(
        {
            "model": model,
            "model_fingerprint": FINGERPRINT,
            "dtype": dtype,
            "subspace": Lines(axes=tuple(RandomAxis(seed=n, span=0.5, steps=steps) for n in range(lines))),
            "probes": [
                PromptProbe(name="harmful", source="builtin:harmful", system_prompt=system_prompt, prompts=tuple(given))
            ],
        }
    )


def make_run(
    directory: Path,
    survey: Survey,
    *,
    rate: Rate = basin,
    text: Says = says,
    points: int | None = None,
    shift: float = 0.0,
    origin_at_close: str | None = FINGERPRINT,
) -> Store:
    """Fill a run directory and open it for reading.

    Args:
        directory: Where.
        survey: What was measured.
        rate: How many of the prompts the model complies with.
        text: What it says.
        points: How many points are measured, from the first; all by default.
        shift: Effective coordinates are α · (1 + shift), as after rounding.
        origin_at_close: None: the process died.

    """
    asked = survey.prompts.prompts
    with Store.claim(directory, survey) as store:
        session = store.begin_session(origin=FINGERPRINT, noise_device="cpu", versions={"torch": "2.9.1"})
        for point in list(survey.points())[:points]:
            (alpha,) = point.coords
            complied = round(rate(point.line or 0, alpha) * len(asked))
            # a fixed shuffle, so that the first prompts are not always the ones that break
            order = sorted(range(len(asked)), key=lambda n: (n * 7919) % 104729)
            broken = set(order[:complied])
            store.add(
                point,
                position=Position((alpha * (1 + shift),), 0.0),
                seconds=1.5,
                session=session,
                answers={"harmful": [_answer(point, n, n in broken, text) for n in range(len(asked))]},
            )
        if origin_at_close is not None:
            store.end_session(session, origin=origin_at_close)
    return Store.read(directory)


def landscape_in(store: Store) -> Landscape:
    return landscape_of(store.survey, store.measured())


def _answer(point: Point, number: int, complied: bool, text: Says) -> Answer:
    outcome = Outcome.COMPLIED if complied else Outcome.REFUSED
    finish = Finish.LENGTH if complied else Finish.SETTLED
    said = text(point, number, complied)
    return Answer(
        Response(said, finish, max(1, len(said) // 4)),
        {"keyword": Verdict(outcome, "" if complied else "I'm sorry")},
    )
