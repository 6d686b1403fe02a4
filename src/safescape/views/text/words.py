"""How the picture and the page say things: names that are hostile text, figures with their intervals, what an axis is.

Knows no colour and no drawing library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from safescape.landscape import Landscape, Metric
from safescape.survey import Axis, InterpolationAxis

__all__ = [
    "KINDS",
    "all_judges_of",
    "basin_of",
    "counted",
    "heading_of",
    "interval_text",
    "judge_of",
    "label_of",
    "lead_of",
    "measure_labels",
    "plain",
    "printable",
    "shortened",
    "signed",
    "subject_of",
    "title_of",
    "value_text",
]

KINDS = {
    "asr": "attack success rate",
    "over_refusal": "over-refusal",
    "accuracy": "accuracy",
    "perplexity": "perplexity",
}
"""What each kind of figure is called."""


def printable(value: object) -> str:
    """Return untrusted text as one line that any drawing library can set: no control characters, no lone surrogates."""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def shortened(text: str, length: int) -> str:
    """Return a text cut in its middle to so many characters."""
    kept = length - 1
    return text if len(text) <= length else f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"


def plain(value: object, length: int = 40) -> str:
    """Return untrusted text for a plotly label, which would read tags, entities and %{templates} in it."""
    alike = str.maketrans({"<": "‹", ">": "›", "&": "＆", "{": "("})
    return shortened(printable(value).translate(alike), length)


def value_text(metric: Metric, decimals: int = 1, unit: str = "") -> str:
    """Return a metric's value, as `71.2`, `0.0 %` or `≥ 0.50`; a dash where it was not measured."""
    if metric.value is None:
        return "–"
    return f"{'≥ ' if metric.at_least else ''}{metric.value:.{decimals}f}{unit}"


def interval_text(metric: Metric, decimals: int = 1, unit: str = "") -> str:
    """Return a metric's 95 % interval, as `66.0 to 75.9` or `0.487 or more`; empty where it was not measured."""
    if metric.low is None or metric.high is None:
        return ""
    if metric.at_least:
        return f"{metric.low:.{decimals}f}{unit} or more"
    return f"{metric.low:.{decimals}f} to {metric.high:.{decimals}f}{unit}"


def basin_of(metrics: Mapping[str, Metric], safe_below: float, *names: str) -> list[str]:
    """Return what is known of a probe's basin, figure by figure with its interval; or that there is none.

    Args:
        metrics: Of the probe.
        safe_below: The ASR, in percent, up to which the origin counts as safe.
        names: `visage`, `basin_radius`: which figures. The radius is left out where none is measured.

    """
    asr = metrics["origin_asr"]
    if asr.value is not None and asr.value > safe_below:
        return [f"no basin (origin at {value_text(asr)} %)"]
    if metrics["visage"].value is None:
        return ["unfinished"]
    found = {"visage": ("VISAGE", 1), "basin_radius": ("radius", 3)}
    return [
        f"{found[name][0]} {value_text(metrics[name], found[name][1])} ({interval_text(metrics[name], found[name][1])})"
        for name in names
        if metrics[name].value is not None
    ]


def signed(value: float, decimals: int = 2) -> str:
    """Return a coordinate with its sign."""
    return f"{value:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def label_of(line: int, axis: Axis) -> str:
    """Return what a line is called. Without the name of a model, which is hostile text to a drawing library."""
    if isinstance(axis, InterpolationAxis):
        return "line to the other model"
    return f"direction {line + 1} (seed {axis.seed})"


def title_of(axis: Axis, sign: str = "α") -> str:
    """Return what stands beside the axis of a line."""
    if isinstance(axis, InterpolationAxis):
        return f"{sign}, from the origin (0) to the other model (1)"
    return f"{sign}, how far every weight tensor has moved (1 = its own norm)"


def heading_of(place: int, axes: Sequence[Axis]) -> str:
    """Return what stands beside an axis of a plane, where there is less room."""
    sign, axis = "αβ"[place], axes[place]
    if not isinstance(axis, InterpolationAxis):
        return f"{sign}, along random direction {place + 1} (seed {axis.seed})"
    if place == 0:
        return f"{sign}, origin (0) to the other model (1)"
    return f"{sign}, across, towards a third model (1)"


def subject_of(landscape: Landscape) -> str:
    """Return what was measured over: `3 random directions`, `line between two models`, a plane."""
    between = [isinstance(axis, InterpolationAxis) for axis in landscape.axes]
    if landscape.subspace == "plane":
        return {
            0: "plane of two random directions",
            1: "plane of two models and a random direction",
            2: "plane through three models",
        }[sum(between)]
    if not any(between):
        return counted(len(between), "random direction")
    return "line between two models" if len(between) == 1 else f"{len(between)} lines"


def lead_of(landscape: Landscape) -> str:
    """Return what the landscape shows, for a reader who sees one for the first time."""
    models = sum(isinstance(axis, InterpolationAxis) for axis in landscape.axes)
    if landscape.subspace == "plane":
        where = (
            "(α = β = 0) along two random directions at once",
            "(α = β = 0) towards another model (α = 1) and, across that, along a random direction (β)",
            "(α = β = 0) towards another model (α = 1) and, across that, towards a third one (β = 1)",
        )[models]
    else:
        where = "(α = 0) towards another model (α = 1)" if models else "(α = 0) along random directions"
    return f"How often the model fails to refuse, as its weights move away from where they are {where}.".replace(
        " = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"
    )


def judge_of(landscape: Landscape) -> str:
    """Return the name of the judge that the figures are of."""
    return printable(all_judges_of(landscape)[0])


def all_judges_of(landscape: Landscape) -> list[str]:
    """Return the names of all judges, as they are: the one whose the figures are, then all others."""
    first = landscape.survey.judges[0]
    return [first, *(judge for judge in landscape.by_judge if judge != first)]


def measure_labels(kinds: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return by probe what its measure is called, from (probe, kind): the kind, numbered where there are several."""
    given = dict(kinds)
    found: dict[str, str] = {}
    for probe, kind in given.items():
        alike = [name for name, other in given.items() if other == kind]
        found[probe] = KINDS[kind] + (f" {alike.index(probe) + 1}" if len(alike) > 1 else "")
    return found
