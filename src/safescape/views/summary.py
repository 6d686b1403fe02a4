"""What a run says in words: the verdict in a sentence, each key figure with what it means, and where it comes from.

Plain text: who sets it on a page escapes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from safescape.landscape import Landscape, Metric
from safescape.store import Session, Store
from safescape.survey import Axis, InterpolationAxis
from safescape.views.curves import (
    curves_of,
    interval_text,
    printable,
    value_text,
)

__all__ = ["KeyFigure", "Verdict", "facts_of", "figures_of", "origin_check", "verdict_of"]


class Verdict(NamedTuple):
    """The first lines of the page."""

    tone: str
    """safe, unsafe or open."""
    headline: str
    detail: str


class KeyFigure(NamedTuple):
    """One figure with its interval and what it means."""

    key: str
    label: str
    value: str
    interval: str
    meaning: str
    per_line: tuple[tuple[str, str], ...]
    """(direction, value)."""
    marks: tuple[float, ...]
    """Where the lines' values lie on the figure's scale, percent."""
    at: float
    band: tuple[float, float]
    """Where the interval begins and how wide it is, percent of the scale."""


def verdict_of(landscape: Landscape) -> Verdict:
    """Return what a reader in a hurry takes away."""
    name = printable(landscape.survey.get("model", "")) or "The model"
    origin = next((curve.samples for curve in curves_of(landscape)), ())
    found = [sample for sample in origin if sample.alpha == 0.0]
    if not found:
        return Verdict(
            "open", "Nothing can be said yet: the model itself is not measured.", "The origin is the first point."
        )
    (sample,) = found
    asr = landscape.metrics["origin_asr"]
    held = f"{sample.n - sample.complied} of {sample.n} harmful requests"
    counted = f"ASR {value_text(asr, 1, ' %')}, 95 % interval {interval_text(asr, 1, ' %')}"
    if not landscape.has_basin:
        return Verdict(
            "unsafe",
            f"No basin: the origin itself is unsafe (ASR {value_text(asr, 1, ' %')}).",
            f"As it stands, {name} refuses {held} ({counted}); up to {landscape.safe_below:g} % would count as "
            "safe. There is no safe region around it to measure.",
        )
    radius = landscape.metrics["basin_radius"]
    if radius.value is None:
        return Verdict(
            "open",
            f"{name} refuses {held} as it stands; how far its weights can move before that breaks is not measured yet.",
            f"{counted}.",
        )
    finished = [(r, axis) for r, axis in zip(radius.per_line, landscape.axes, strict=True) if r is not None]
    some = "" if landscape.complete else f" ({len(finished)} of {len(landscape.axes)} directions so far)"
    moved = f"{100 * radius.value:.0f} % of their size"
    if radius.at_least and all(r >= max(-axis.low, axis.high) for r, axis in finished):
        holds = f"stayed safe at every distance measured, up to {moved}"
        headline = f"{name} refuses {held} and {holds}, in random directions{some}."
    else:
        least = "at least " if radius.at_least else "about "
        headline = (
            f"{name} refuses {held}, and stays safe until its weights have moved by {least}{moved} in a random "
            f"direction{some}."
        )
    return Verdict(
        "safe",
        headline,
        f"At the origin: {counted}. Beyond the edge of the basin more than {landscape.safe_below:g} % of the requests "
        "are no longer refused.",
    )


def figures_of(landscape: Landscape) -> list[KeyFigure]:
    """Return the key figures; without a basin only those that mean something there."""
    metrics = landscape.metrics
    safe = f"{landscape.safe_below:g} %"
    origin = _figure(
        landscape,
        "origin_asr",
        "ASR at the origin",
        "Harmful requests that the model, as it stands, does not refuse. Lower is safer.",
        unit=" %",
    )
    auc = _figure(
        landscape,
        "safety_auc",
        "Safety AUC",
        "Mean of 100 − ASR over the whole span, nothing trimmed: it sees how deep and how wide the basin is. "
        "Higher is safer.",
    )
    if landscape.has_basin is False:
        return [origin, auc] if metrics["safety_auc"].value is not None else [origin]
    return [
        origin,
        _figure(
            landscape,
            "basin_radius",
            "Basin radius",
            f"How far every weight tensor can move, in units of its own norm, before the ASR passes {safe}. "
            "Larger is safer.",
            decimals=3,
            scale=max(max(-axis.low, axis.high) for axis in landscape.axes),
        ),
        _figure(
            landscape,
            "visage",
            "VISAGE",
            "Mean of 100 − ASR over the points where at least one request is refused (the paper's formula). "
            "Higher is safer; it does not see how wide the basin is.",
        ),
        _figure(
            landscape,
            "visage_reference",
            "VISAGE, released code",
            "What the paper's published script computes, which cuts off the saturated ends. For comparison with "
            "numbers made by it.",
        ),
        auc,
    ]


def _figure(
    landscape: Landscape,
    key: str,
    label: str,
    meaning: str,
    *,
    unit: str = "",
    decimals: int = 1,
    scale: float = 100.0,
) -> KeyFigure:
    metric: Metric = landscape.metrics[key]
    per_line = [(line, value) for line, value in enumerate(metric.per_line, start=1) if value is not None]
    low, high, at = (100.0 * (value or 0.0) / scale for value in (metric.low, metric.high, metric.value))
    return KeyFigure(
        key,
        label,
        value_text(metric, decimals, unit),
        interval_text(metric, decimals),
        meaning,
        tuple((f"direction {line}", f"{value:.{decimals}f}") for line, value in per_line),
        tuple(100.0 * value / scale for _, value in per_line),
        at,
        (low, high - low),
    )


def facts_of(store: Store, landscape: Landscape) -> list[tuple[str, str]]:
    """Return where the figures come from, in the order of the page: (name, value)."""
    survey = store.survey
    probe = survey.prompts
    versions = {
        f"{name} {version}" for session in store.sessions() for name, version in session.versions.items() if version
    }
    system = {None: "the chat template's own default", "": "none"}.get(probe.system_prompt, probe.system_prompt)
    return [
        ("Model", survey.model),
        ("Fingerprint", survey.model_fingerprint),
        ("Engine", f"{survey.engine}, {survey.dtype}, on {survey.device}"),
        ("Directions", _directions(survey.subspace.axes)),
        ("Scale of a direction", "each tensor at its own Frobenius norm; norm weights do not move"),
        ("Prompts", f"{len(probe.prompts)} from {probe.source} (probe “{probe.name}”)"),
        ("System prompt", system or ""),
        ("Chat template", "the tokenizer's own" if survey.chat_template is None else "given with the survey"),
        ("Decoding", _decoding(store)),
        ("Judge", ", ".join(survey.judges)),
        ("Safe up to", f"ASR {landscape.safe_below:g} %"),
        ("Versions", ", ".join(sorted(versions)) or "not recorded"),
        ("Run directory", str(store.directory)),
    ]


def _directions(lines: Sequence[Axis]) -> str:
    alike: dict[tuple[str, float, int], list[str]] = {}
    other = []
    for axis in lines:
        if isinstance(axis, InterpolationAxis):
            other.append(
                f"to {printable(axis.toward)} ({axis.fingerprint[:19]}…), "
                f"α from {axis.grid[0]:g} to {axis.grid[-1]:g}, {axis.steps} steps from 0 to 1"
                + (f"; only the common rows of {', '.join(axis.resized)} move" if axis.resized else "")
            )
            continue
        alike.setdefault((axis.kind, axis.span, axis.steps), []).append(str(axis.seed))
    random = [
        f"{len(seeds)} {kind}, α from −{span:g} to {span:g} in {steps} steps, seed{'s' if len(seeds) > 1 else ''} "
        + ", ".join(seeds)
        for (kind, span, steps), seeds in alike.items()
    ]
    return "\n".join(other + random)


def _decoding(store: Store) -> str:
    survey = store.survey
    cut = "every answer to its end" if survey.whole_answers else "an answer ends early once the judge can tell"
    return f"greedy, up to {survey.max_new_tokens} new tokens, batches of {survey.batch_size}; {cut}"


def origin_check(session: Session) -> str:
    """Say whether the live weights came back to the origin when a process ended."""
    if session.origin_at_close is None:
        return "ended before it could look again"
    if session.origin_at_close == session.origin_at_start:
        return "the weights came back bit-equal"
    return "THE WEIGHTS DID NOT COME BACK: do not trust these figures"
