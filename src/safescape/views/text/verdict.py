"""The verdict of a run: a sentence with the finding, and what supports it."""

from __future__ import annotations

import math
from typing import NamedTuple

from safescape.landscape import (
    Decision,
    Landscape,
    Metric,
    Reason,
    State,
    Wanted,
    decision_of,
    is_above,
    radius_if_answered,
    undecided_point,
    unscored_at,
)
from safescape.survey import KEYWORD, SHIPPED, ComputedAxis, InterpolationAxis
from safescape.views.series.samples import origin_of, other_model
from safescape.views.text.noise import noise_warning
from safescape.views.text.remarks import (
    basin_said,
    beyond_said,
    interval_said,
    thoughts_said,
    trajectory_said,
    unscored_said,
)
from safescape.views.text.strict import strict_said
from safescape.views.text.words import (
    clash_text,
    interval_text,
    judge_of,
    limit_text,
    only_of,
    printable,
    value_text,
)

SHOWN = {"safe": "Shown to be safe", "open": "Not shown either way", "unsafe": "Shown to be unsafe"}
"""The label of each tone."""
_MOST_PROMPTS = 10_000
"""More than this is not suggested to anyone."""


class Verdict(NamedTuple):
    """The first lines of the page."""

    tone: str
    """safe, open or unsafe: the three states of a decision."""
    headline: str
    """The finding, without the state."""
    detail: str
    clash: str = ""
    """How the keyword judge and the refusal judge contradict each other, in a sentence; empty if they do not."""

    @property
    def state(self) -> str:
        """The state in words."""
        return SHOWN[self.tone]

    @property
    def sentence(self) -> str:
        """The state and the finding, where no label stands beside the headline."""
        return f"{self.state}: {self.headline}"

    @property
    def statement(self) -> str:
        """The same, and how the judges contradict each other, if they do."""
        return f"{self.sentence} {self.clash}".rstrip()


def verdict_of(landscape: Landscape, name: str = "") -> Verdict:
    """Return the verdict of a run, which calls the model `name`, by default its name in the survey.

    It goes by the judge that `Landscape.decided` names.
    """
    warning = noise_warning(landscape)
    landscape = landscape.decided
    name = printable(name or landscape.survey.model) or "The model"
    origin, tone = origin_of(landscape), tone_of(landscape)
    if origin is None:
        return Verdict(tone, f"{name} itself is not measured yet.", "The origin is the first point to be measured.")
    decision, path = decision_of(landscape), isinstance(landscape.axes[0], InterpolationAxis)
    safe_below = f"{landscape.safe_below:g} %"
    detail = f"At the origin: {_asr_text(landscape)}. An ASR of up to {safe_below} counts as safe."
    if path and (other := other_model(landscape)):
        detail += f" The other model: ASR {other.asr:.1f} %, 95 % interval {other.low:.1f} to {other.high:.1f} %."
    if path and landscape.lost_at is not None and landscape.lost_at >= 1.0:
        detail += f" Beyond the other model safety is lost at α = {landscape.lost_at:.2f}."
    held = f"{name} refuses {_refused(landscape)}"
    if decision.reason is Reason.ORIGIN:
        said = _of_origin(landscape, decision, held)
    elif decision.reason is Reason.UNSCORED:
        said = held + _of_unscored(landscape)
    elif decision.reason is Reason.POINTS:
        said = f"{held}; the keyword judge chose the points, and a scan without --adaptive would decide it"
    else:
        said = held + (_of_path if path else _of_random)(landscape, decision)
    further = (
        basin_said(landscape),
        unscored_said(landscape),
        trajectory_said(landscape),
        beyond_said(landscape),
        strict_said(landscape),
        thoughts_said(landscape),
        interval_said(landscape),
        warning,
    )
    detail = " ".join([detail, *filter(None, further)])
    return Verdict(tone, f"{said}.", detail, clash_text(landscape.clashes))


def _of_unscored(landscape: Landscape) -> str:
    """Unscored answers keep the model from being shown to be safe: too many of them, or the few that there are."""
    how = "safescape judge RUN --with NAME has another judge read them"
    point = undecided_point(landscape)
    path = isinstance(landscape.axes[0], InterpolationAxis)
    if point is not None and any(point.coords) and not path and radius_if_answered(landscape):
        point = None  # it ends the basin, but the few unscored answers at the origin decide
    if point is not None and point.thoughts and point.thoughts.unanswered == unscored_at(landscape, point):
        how = "--max-thinking-tokens N ends thoughts so that answers follow"
    if point is None:
        return f", but an unscored answer never counts as safe; {how}"
    unscored, most = unscored_at(landscape, point), f"{landscape.max_unscored:g} %"
    place = ", ".join(f"{sign} = {value:g}" for sign, value in zip("αβ", point.coords, strict=False) if value)
    where = f"at {place}" if any(point.coords) else "at the origin"
    share = f"{100.0 * unscored / point.n:.1f} %"
    return f", but {unscored} of its {point.n} answers {where} ({share}) are unscored, more than {most}; {how}"


def _asr_text(landscape: Landscape) -> str:
    """The ASR at the origin with its interval; where the judges clash, by both."""
    asr = landscape.metrics["origin_asr"]
    said = f"ASR {value_text(asr, 1, ' %')}, 95 % interval {interval_text(asr, 1, ' %')}"
    keyword = landscape.by_judge.get(KEYWORD)
    if not landscape.clashes or keyword is None:
        return said
    other = keyword["origin_asr"]
    beside = f"{value_text(other)} %, {interval_text(other)} %, by the keyword judge"
    return f"{said}, by the {judge_of(landscape)} judge; {beside}"


def _refused(landscape: Landscape) -> str:
    """The refusals at the origin and, if the judge tells them, the answers that are noise or unscored."""
    point = next(point for point in landscape.counted if point.waypoint is None and not any(point.coords))
    if point.judge != landscape.survey.judges[0]:
        unscored = unscored_at(landscape, point)
        left = f" ({unscored} unscored)" if unscored else ""
        return f"{point.n - (point.count or 0) - unscored} of {point.n} harmful requests{left}"
    kinds = ((point.incoherent or 0, "noise"), (point.unscored, "unscored"))
    others = ", ".join(f"{number} {kind}" for number, kind in kinds if number)
    return f"{point.refused} of {point.n} harmful requests{f' ({others})' if others else ''}"


def tone_of(landscape: Landscape) -> str:
    """Return the state of a run's decision as the name of its colour: safe, open or unsafe."""
    return {State.SAFE: "safe", State.UNKNOWN: "open", State.UNSAFE: "unsafe"}[decision_of(landscape).state]


def _of_origin(landscape: Landscape, decision: Decision, held: str) -> str:
    """The model itself is unsafe, or its ASR's interval holds the threshold."""
    asr, safe_below = landscape.metrics["origin_asr"], f"{landscape.safe_below:g} %"
    if decision.state is State.UNSAFE:
        none = "there is no basin, " if landscape.has_basin is False else ""
        said = f"{held}; {none}the origin itself is unsafe (ASR {value_text(asr, 1, ' %')})"
        return said + _of_partly_safe(landscape)
    above = is_above(asr.value or 0.0, landscape.safe_below)
    end = f"low as {asr.low:.1f}" if above else f"high as {asr.high:.1f}"
    wanted = _wanted(decision.wanted, landscape)
    return f"{held}, but its ASR may be as {end} %, and up to {safe_below} counts as safe{wanted}"


def _of_partly_safe(landscape: Landscape) -> str:
    """How far the basin of an unsafe origin reaches, relative to its own ASR; empty without one."""
    limit, random = landscape.limit, not isinstance(landscape.axes[0], InterpolationAxis)
    if limit.kind != "relative" or not limit.has_basin:
        return ""
    found, against = landscape.metrics["basin_radius"] if random else landscape.edge, limit_text(limit)
    if found.value is None:
        return ""
    least = "at least " if found.at_least else ""
    far = f"{least}{value_text(found.model_copy(update={'at_least': False}), 3 if random else 2)}"
    what = "the basin radius" if random else "toward the other model its basin ends at α ="
    return f", in a basin: {what} {'is ' if random else ''}{far} against a threshold of {against}"


def _of_random(landscape: Landscape, decision: Decision) -> str:
    """How far the weights can move in random directions; the model itself is shown to be safe."""
    radius, plane = landscape.metrics["basin_radius"], landscape.subspace == "plane"
    if radius.value is None:
        return "; how far its weights can move before that breaks is not measured yet"
    finished = sum(value is not None for value in radius.per_line)
    some = "" if landscape.complete or plane else f" ({finished} of {len(landscape.axes)} directions so far)"
    if decision.state is State.UNKNOWN:
        return (
            f", but its basin may have no width: the basin radius is {value_text(radius, 3)}, 95 % interval "
            f"{interval_text(radius, 3)}{some}{_wanted(decision.wanted, landscape)}"
        )
    axis = landscape.axes[0]
    one = "in the random direction that was measured" if len(radius.per_line) == 1 else "in a random direction"
    if isinstance(axis, ComputedAxis):
        one = f"along {axis.recipe.label}"
    one += only_of(landscape.axes)
    where = "on a plane of two random directions" if plane else one
    if isinstance(axis, ComputedAxis) and axis.norm == "none":
        return _of_removal(landscape, radius)
    if share_text(held := radius_if_answered(landscape) or 0.0) != share_text(radius.value):
        more = f", or {share_text(radius.value)} without its unscored answers, which never count as safe"
        return f", and stays safe until its weights have moved by about {share_text(held)} {where}{some}{more}"
    if _never_left(landscape):
        where = where if plane or isinstance(axis, ComputedAxis) else "in random directions"
        return f" and stayed safe at every distance measured, up to {share_text(radius.value)}, {where}{some}"
    least = "at least " if radius.at_least else "about "
    return f", and stays safe until its weights have moved by {least}{share_text(radius.value)} {where}{some}"


def _of_removal(landscape: Landscape, radius: Metric) -> str:
    """How much of a direction that is not scaled the model bears."""
    held, axis = radius_if_answered(landscape) or 0.0, landscape.axes[0]
    assert isinstance(axis, ComputedAxis)
    along = f"α = {held:.2f} of {axis.recipe.label}{only_of(landscape.axes)}"
    if _never_left(landscape):
        return f" and stayed safe at every distance measured, up to {along}"
    return f", and stays safe until {'at least' if radius.at_least else 'about'} {along}"


def share_text(radius: float) -> str:
    """Return a distance in random directions as a share of the weights' size."""
    return f"{100 * radius:{'.0f' if radius >= 0.01 else '.1g'}} % of their size"


def _never_left(landscape: Landscape) -> bool:
    """Whether the ASR stayed at or under the threshold as far as any line, or the plane, was measured."""
    radius, reach = landscape.metrics["basin_radius"], [max(-axis.low, axis.high) for axis in landscape.axes]
    if landscape.subspace == "plane":
        return radius.at_least and (radius.value or 0.0) >= math.hypot(*reach)
    radii = zip(radius.per_line, reach, strict=True)
    return radius.at_least and all(value is None or value >= far for value, far in radii)


def _of_path(landscape: Landscape, decision: Decision) -> str:
    """What becomes of safety on the way to the other model; the origin is not shown to be unsafe."""
    other, lost = other_model(landscape), landscape.lost_at
    lost = lost if lost is not None and lost < 1.0 else None
    at = "" if lost is None else f"on the way to the other model safety is lost at α = {lost:.2f}"
    if other is None:
        return f"{f'; {at}' if at else ''}. The other model itself is not measured yet"
    if decision.reason is Reason.OTHER:
        answers = f"the other model itself answers {other.asr:.1f} % of harmful requests"
        if decision.state is State.UNSAFE:
            return f"; {f'{at}, and' if at else 'yet'} {answers}"
        end = f"low as {other.low:.1f}" if is_above(other.asr, landscape.safe_below) else f"high as {other.high:.1f}"
        return f"; {answers}, but this may be as {end} %{_wanted(decision.wanted, landscape)}"
    if decision.reason is Reason.WAY:
        where = "safety is lost" if decision.state is State.UNSAFE else "it may be lost"
        first = "" if lost is None else f", first at α = {lost:.2f}"
        safe = f", and the other model is safe too (ASR {other.asr:.1f} %), but between the two {where}{first}"
        return safe + _wanted(decision.wanted, landscape)
    if decision.reason is Reason.UNFINISHED:
        return f"; the other model answers {other.asr:.1f} %, and the line between the two is not finished"
    return f" and stays safe all the way to the other model, which answers {other.asr:.1f} %"


def _wanted(wanted: Wanted | None, landscape: Landscape) -> str:
    """What would decide it, as the end of a sentence."""
    if wanted is None:
        return ""
    option, number = wanted
    if number is None:
        return "; the measured rate equals the threshold, so no number of prompts would decide it"
    if option == "--limit" and number > _MOST_PROMPTS:
        return f"; it lies so near the threshold that more than {_MOST_PROMPTS:,} prompts would be needed to decide it"
    what = {
        "--limit": f"about {number} prompts would decide it",
        "--directions": f"about {number} directions would decide it",
        "--steps": "finer steps would tell how near its edge is",
    }[option]
    return f"; {what} ({option} {number}{_more_than_shipped(number, landscape) if option == '--limit' else ''})"


def _more_than_shipped(number: int, landscape: Landscape) -> str:
    """A remark if the run's prompts are a set that the package ships, and has fewer prompts than so many."""
    source = next((probe.source for probe in landscape.survey.probes), "")
    held = SHIPPED.get(source, number)
    if number <= held:
        return ""
    return f"; {source} has {held}, so give a larger set with --prompts"
