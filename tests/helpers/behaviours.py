"""How a synthetic model behaves: how often it complies at a point, what it says, and what judges say of its answers."""

from __future__ import annotations

import math
from collections.abc import Callable

from helpers.hostile_texts import HOSTILE
from safescape.survey import Outcome, Point, Position, Thought, Verdict

Rate = Callable[[int, float], float]
"""The share of prompts (0 to 1) that the model complies with, by line and α."""

Chance = Callable[[str, Point], float]
"""The same by probe and point, for planes, checkpoints and further probes: the share of harmful requests complied with,
of harmless ones refused, of questions answered rightly; of texts, their nats a token."""

Stands = Callable[[Point], Position]
"""The position of the rounded weights."""

Opinion = Callable[[str, Point, int, bool], Verdict | None]
"""What a judge says of an answer, by judge, point, number of the prompt and whether the model complied (of harmless
requests too); None: it has not read it."""

Says = Callable[[Point, int, bool], str]
"""The text of an answer, by point, number of the prompt and whether the model complied."""

Thinks = Callable[[Point, int], Thought | None]
"""The thought before an answer, by point and number of the prompt; after one that is not ended no answer comes."""


def hostile_thoughts(point: Point, number: int) -> Thought | None:
    """Every third answer has none; every third one is cut, and no answer comes after it."""
    if number % 3 == 0:
        return None
    text = f"Thought {number}: {HOSTILE[number % len(HOSTILE)]}"
    return Thought(text, 40 + number, is_ended=number % 3 == 1)


def basin(line: int, alpha: float) -> float:
    """Safe within about 0.15 of the origin, collapsed beyond 0.3; each line a little different."""
    return 1 / (1 + math.exp(-(abs(alpha + 0.01 * line) - 0.2 - 0.015 * line) / 0.02))


def no_basin(line: int, alpha: float) -> float:
    """Unsafe at the origin and everywhere else."""
    return min(1.0, 0.93 + 0.2 * abs(alpha) + 0.01 * line)


def tuned(probe: str, point: Point) -> float:
    """A finetune that loses its safety in a step at α = 0.45 and its capability gradually; β makes both worse."""
    alpha = 0.25 * (1 + point.waypoint) if point.waypoint is not None else point.coords[0]
    beta = point.coords[1] if len(point.coords) > 1 else 0.0
    far = abs(alpha) if probe in ("accuracy", "perplexity") else alpha
    if probe == "benign":
        return min(1.0, 0.04 + 0.5 * beta * beta + (0.12 if alpha < 0.3 else 0.02))
    if probe == "accuracy":
        return max(0.25, 0.62 - 0.16 * far - 0.7 * beta * beta)
    if probe == "perplexity":
        return 2.2 + 0.5 * far + 8 * beta * beta
    edge = 0.45 if probe == "harmful" else 0.25
    return 0.96 / (1 + math.exp(-(abs(alpha - 0.05) - edge + 1.8 * beta * beta) / 0.035))


def bowl(probe: str, point: Point) -> float:
    """A round basin of radius about 0.25 on a plane."""
    alpha, beta = point.coords
    return 1 / (1 + math.exp(-(math.hypot(alpha, 1.25 * beta + 0.2 * alpha) - 0.25) / 0.03))


def beside_path(dimensions: int, *, spacing: float = 0.25, shift: float = 0.0) -> Stands:
    """Return where points lie if the checkpoints are 0.1 beside the path, with a fifth of their distance off the plane.

    Args:
        dimensions: Number of coordinates of the subspace: 1 drops the coordinate beside the path.
        spacing: Distance along the path between two checkpoints.
        shift: Relative displacement of all other points, as after rounding.

    """

    def stands(point: Point) -> Position:
        if point.waypoint is None:
            return Position(tuple(value * (1 + shift) for value in point.coords), 0.0)
        return Position((spacing * (1 + point.waypoint), 0.1)[:dimensions], 0.2)

    return stands


def by_keyword(judge: str, point: Point, number: int, complied: bool) -> Verdict | None:
    """Judge as the keyword judge does: two outcomes, no probability."""
    return Verdict(Outcome.COMPLIED) if complied else Verdict(Outcome.REFUSED, "I'm sorry")


def four_outcomes(judge: str, point: Point, number: int, complied: bool) -> Verdict | None:
    """Judge as the keyword judge, or as another one that finds most compliance far from the origin incoherent.

    Of 20 requests that are complied with, 1 is left unscored; of the others all are compliance up to a distance of
    0.15 from the origin, and from there on ever fewer, down to 1 of 10 at 0.4. A panel is not scored where its members
    differ.
    """
    if judge == "keyword":
        return by_keyword(judge, point, number, complied)
    if not complied:
        return Verdict(Outcome.REFUSED, "declines", 0.01 + 0.001 * (number % 7))
    if number % 20 == 13:
        return Verdict(Outcome.UNSCORED, "undecided", 0.5)
    far = math.hypot(*point.coords)
    share = min(1.0, max(0.1, 1 - 3.6 * (far - 0.15)))
    if (number * 37) % 100 < 100 * share:
        return Verdict(Outcome.COMPLIED, "steps to follow", 0.9 + 0.001 * (number % 50))
    noise = Verdict(Outcome.INCOHERENT, "words out of order", 0.02 + 0.001 * (number % 50))
    return noise if "(" not in judge else Verdict(Outcome.UNSCORED, "keyword: complied, refusal: incoherent", 0.02)


def missed_refusals(judge: str, point: Point, number: int, complied: bool) -> Verdict | None:
    """Judge by `four_outcomes`, but the keyword judge finds no refusal, as of a model that writes them otherwise."""
    return Verdict(Outcome.COMPLIED) if judge == "keyword" else four_outcomes(judge, point, number, complied)


def unread(unread_by: str, *, read_at_origin: bool) -> Opinion:
    """Judge by `four_outcomes`, but one judge has read no answer, or only those at the origin."""

    def opinion(judge: str, point: Point, number: int, complied: bool) -> Verdict | None:
        if judge == unread_by and not (read_at_origin and point.is_origin):
            return None
        return four_outcomes(judge, point, number, complied)

    return opinion


def hostile_reasons(incoherent_to: str) -> Opinion:
    """Give hostile texts as reasons; one judge finds every answer incoherent, the others find compliance."""

    def opinion(judge: str, point: Point, number: int, complied: bool) -> Verdict:
        outcome = Outcome.INCOHERENT if judge == incoherent_to else Outcome.COMPLIED
        return Verdict(outcome, HOSTILE[number], 0.5)

    return opinion


def says(point: Point, number: int, complied: bool) -> str:
    if not complied:
        return "I'm sorry, but I can't assist with that."
    where = f"checkpoint {point.waypoint + 1}" if point.waypoint is not None else f"{point.coords[0]:+.2f}"
    return f"Answer {number} at {where}: step one, step two and so on."
