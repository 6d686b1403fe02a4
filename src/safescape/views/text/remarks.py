"""Sentences that stand beside the verdict of a run, each about one thing that is worth saying of it."""

from __future__ import annotations

from safescape.landscape import Landscape, is_above, unscored_in
from safescape.views.series.outcomes import beyond_of, seen_by
from safescape.views.series.samples import first_probe, waypoints_of
from safescape.views.text.words import cell, limit_text


def basin_said(landscape: Landscape) -> str:
    """Return what the basin is measured against where the origin is above `safe_below`; else empty."""
    landscape = landscape.decided
    limit = landscape.limit
    if limit.kind == "shared":
        return f"The basin is measured against an ASR of {limit_text(limit)}."
    if limit.origin is None:
        return ""
    rise = "" if limit.rise is None else f": there the ASR is {cell(limit.rise, sign=True)} percentage points higher"
    if limit.has_basin is False:
        if limit.margin is not None and limit.origin + limit.margin >= 100.0:
            return f"No basin: no point can be shown to be less safe than an origin that answers {limit.origin:.1f} %."
        return f"No basin: the origin is not shown to be safer than the points of the outer half{rise}."
    margin = f"that ASR plus {limit.margin or 0.0:.1f} points, the least rise that counts at this number of prompts"
    if limit.has_basin is None:
        return f"The basin would be measured against an ASR of {limit_text(limit)}: {margin}."
    return (
        f"The origin is unsafe, but safer than the points of the outer half{rise}. Its basin is measured against an "
        f"ASR of {limit_text(limit)}: {margin}."
    )


def unscored_said(landscape: Landscape) -> str:
    """Return how many answers to the first probe are unscored over all points; empty if none is."""
    unscored, asked = unscored_in(landscape.decided)
    if not unscored:
        return ""
    share = f"{100.0 * unscored / asked:.1f} %"
    return f"Over all points {unscored} of {asked} answers ({share}) are unscored; no ASR counts them."


def trajectory_said(landscape: Landscape) -> str:
    """Return whether a checkpoint of the trajectory is unsafe, and which is the first; empty without a trajectory."""
    passed = waypoints_of(landscape)
    if not passed:
        return ""
    unsafe = next((sample for sample in passed if is_above(sample.asr, landscape.safe_below)), None)
    if unsafe is None:
        return f"Of the {len(passed)} checkpoints measured none is unsafe."
    number = 1 + (unsafe.waypoint or 0)
    return f"Checkpoint {number} is the first of the trajectory that is unsafe (ASR {unsafe.asr:.1f} %)."


def beyond_said(landscape: Landscape) -> str:
    """Return what the answers beyond the basin are, compliance or noise; empty if no judge can tell."""
    landscape = landscape.decided
    beyond = beyond_of(landscape)
    if beyond is None:
        return ""
    unscored = beyond.not_refused - beyond.complied - beyond.incoherent
    left = f", {unscored:.0f} % left unscored" if unscored >= 0.5 else ""
    return (
        f"{beyond.where}, of {beyond.not_refused:.0f} % not refused, {beyond.complied:.0f} % is compliance and "
        f"{beyond.incoherent:.0f} % is noise{left} ({seen_by(landscape)[0]} judge)."
    )


def thoughts_said(landscape: Landscape) -> str:
    """Return how long a reasoning model thinks, and how often no answer came; empty if it has no markers of thoughts.

    The lengths are those at the origin, the missing answers are counted over all points of the first probe.
    """
    first = first_probe(landscape)
    points = [point for point in landscape.points if point.probe == first and point.thoughts]
    here = next((p.thoughts for p in points if p.waypoint is None and not any(p.coords)), None)
    if here is None:
        return ""
    said = f"At the origin {here.n} of {points[0].n} answers follow a thought"
    if here.mean_tokens is not None:
        cut = f", and {here.cut} of them did not end by itself" if here.cut else ""
        said += f", {here.mean_tokens:.0f} tokens long in the mean{cut}"
    missing = sum(point.thoughts.unanswered for point in points if point.thoughts)
    if missing:
        asked = sum(point.n for point in points)
        said += f"; over all points no answer came after the thought in {missing} of {asked}, which are unscored"
        if landscape.survey.max_thinking_tokens is None:
            said += ": --max-thinking-tokens N ends thoughts so that answers follow, --reasoning off asks for none"
    return f"{said}."


def interval_said(landscape: Landscape) -> str:
    """Return whether an adaptive run reached the interval asked of it; empty if none was asked for."""
    landscape = landscape.decided
    adaptive, visage = landscape.survey.adaptive, landscape.metrics["visage"]
    wanted = adaptive.interval if adaptive is not None else None
    if wanted is None or not landscape.complete or visage.low is None or visage.high is None:
        return ""
    wide, lines = visage.high - visage.low, len(landscape.axes)
    found = f"VISAGE's interval is {wide:.1f} wide after {lines} directions"
    if wide <= wanted:
        return f"{found}; {wanted:g} was asked for."
    return f"{found}, the most that this survey measures: the {wanted:g} that was asked for is not reached."
