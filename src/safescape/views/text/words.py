"""Words that pictures and pages share: untrusted names made printable, figures with their intervals, names of axes."""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from safescape.landscape import Clash, Landscape, Metric, Threshold
from safescape.survey import Axis, ComputedAxis, InterpolationAxis, RandomAxis

KINDS = {
    "asr": "attack success rate",
    "over_refusal": "over-refusal",
    "accuracy": "accuracy",
    "perplexity": "perplexity",
    "margin": "refusal margin",
}
"""The name of each kind of figure."""
_MARKUP = {ord(sign): f"&#{ord(sign)};" for sign in string.punctuation if sign not in "-/"}


def printable(value: object) -> str:
    """Return untrusted text as one line that any drawing library can set: no control characters, no lone surrogates."""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def legible(value: object) -> str:
    """Return untrusted text of several lines for a terminal: what cannot be printed becomes U+FFFD."""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return "".join(sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in text)


def folded(value: object, words: int) -> str:
    """Return the first words of untrusted text in one line, and how many more there are."""
    every = printable(value).split(" ")
    shown, left = " ".join(every[:words]), len(every) - words
    return shortened(shown, 160) + (f" … ({counted(left, 'more word')})" if left > 0 else "")


def quoted(name: object) -> str:
    """Return an untrusted name in quotation marks, for a terminal or a plain text file."""
    return f"“{printable(name)}”"


def named(name: str) -> str:
    """Return an untrusted name as Markdown that shows it unchanged."""
    return f"<code>{printable(name).translate(_MARKUP)}</code>"


def shortened(text: str, length: int) -> str:
    """Return a text cut in its middle to at most `length` characters."""
    kept = length - 1
    return text if len(text) <= length else f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"


def plain(value: object, length: int = 40) -> str:
    """Return untrusted text for a plotly label, where tags, entities and %{templates} would be interpreted."""
    alike = str.maketrans({"<": "‹", ">": "›", "&": "＆", "{": "("})
    return shortened(printable(value).translate(alike), length)


def decimals_of(key: str) -> int:
    """Return the number of decimals of a figure: three of a radius, one of a percentage."""
    return 3 if key == "basin_radius" else 1


def decimal(value: float, decimals: int) -> str:
    """Return a number with so many decimals; a distance that they would round away with two digits: 0.0034, 1.5e-4."""
    if decimals < 2 or value == 0.0 or abs(value) >= 0.01:
        return f"{value:.{decimals}f}"
    if abs(value) >= 0.001:
        return np.format_float_positional(value, precision=2, unique=False, fractional=False, trim="-")
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def value_text(metric: Metric, decimals: int = 1, unit: str = "") -> str:
    """Return a metric's value, as `71.2`, `0.0 %` or `≥ 0.50`; a dash if it was not measured."""
    if metric.value is None:
        return "–"
    return f"{'≥ ' if metric.at_least else ''}{decimal(metric.value, decimals)}{unit}"


def interval_text(metric: Metric, decimals: int = 1, unit: str = "") -> str:
    """Return a metric's 95 % interval, as `66.0 to 75.9` or `0.487 or more`; empty if it was not measured.

    After that of a rate stands how many answers it does not count because they are unscored: `0.0 to 4.6, 3 unscored`.
    """
    if metric.value is None:
        return ""
    left = f", {metric.unscored} unscored" if metric.unscored else ""
    if metric.low is None:
        return ("not determined" if metric.high is None else f"{decimal(metric.high, decimals)}{unit} or less") + left
    if metric.high is None or metric.at_least:
        return f"{decimal(metric.low, decimals)}{unit} or more{left}"
    return f"{decimal(metric.low, decimals)} to {decimal(metric.high, decimals)}{unit}{left}"


def halving_text(metric: Metric) -> str:
    """Return how many directions would halve a metric's interval; empty if it is about one line or they would not."""
    number = metric.directions_to_halve
    return "" if number is None else f"{number} directions would halve the interval"


def limit_text(limit: Threshold) -> str:
    """Return the threshold of a basin, as `10 %`; if it is not the user's, with what it is relative to."""
    if limit.kind == "absolute":
        return f"{limit.value:g} %"
    own = f"{limit.value:.1f} %"
    if limit.kind == "shared":
        return f"{own}, the highest threshold of the runs that are compared"
    return f"{own}, relative to the origin’s {limit.origin or 0.0:.1f} %"


def limit_value(limit: Threshold) -> str:
    """Return the threshold of a basin alone, as `10 %` or `36.9 %`."""
    return f"{limit.value:g} %" if limit.kind == "absolute" else f"{limit.value:.1f} %"


def limit_label(limit: Threshold) -> str:
    """Return what stands beside the line of the threshold in a picture, in two or three short lines."""
    if limit.kind == "relative":
        return f"outside above\n{limit_value(limit)}: origin\n+ {limit.margin or 0.0:.1f} points"
    return f"{'unsafe' if limit.kind == 'absolute' else 'outside'}\nabove {limit_value(limit)}"


def basin_of(metrics: Mapping[str, Metric], limit: Threshold, *names: str) -> list[str]:
    """Return those of `visage` and `basin_radius` that are wanted, with their intervals; or that there is no basin.

    A radius against another threshold than the user's names it.
    """
    asr = metrics["origin_asr"]
    none = [f"no basin (origin at {value_text(asr)} %)"] if limit.has_basin is False else []
    if metrics["visage"].value is None:
        return [*none, "unfinished"]
    labels = {"visage": "VISAGE", "basin_radius": "radius"}
    figures = ((name, metrics[name]) for name in names if not none or name != "basin_radius")
    said = [
        f"{labels[name]} {cell(metric, decimals_of(name))}{_to(name, limit)}"
        for name, metric in figures
        if metric.value is not None
    ]
    return [*said, *none]


def _to(name: str, limit: Threshold) -> str:
    return f" to {limit_value(limit)}" if name == "basin_radius" and limit.kind != "absolute" else ""


def cell(metric: Metric | None, decimals: int = 1, *, sign: bool = False) -> str:
    """Return a figure with its interval in parentheses; `sign`: a difference, with the sign of every number."""
    if metric is None or metric.value is None:
        return "–"
    if not sign:
        return f"{value_text(metric, decimals)} ({interval_text(metric, decimals)})"
    return f"{signed(metric.value, decimals)} ({signed_interval(metric, decimals)})"


def signed_interval(metric: Metric, decimals: int = 1) -> str:
    """Return the 95 % interval of a difference, with the signs of its ends."""
    low, high = (None if end is None else signed(end, decimals) for end in (metric.low, metric.high))
    if low is None:
        return "not determined" if high is None else f"{high} or less"
    return f"{low} or more" if high is None else f"{low} to {high}"


def signed(value: float, decimals: int = 2) -> str:
    """Return a number with its sign."""
    return ("\N{MINUS SIGN}" if math.copysign(1.0, value) < 0.0 else "+") + decimal(abs(value), decimals)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def label_of(line: int, axis: Axis) -> str:
    """Return the label of a line. It names no model: a model's name is untrusted text to a drawing library."""
    if isinstance(axis, InterpolationAxis):
        return "line to the other model"
    if isinstance(axis, ComputedAxis):
        return axis.recipe.short
    return f"direction {line + 1} (seed {axis.seed})"


def title_of(axis: Axis) -> str:
    """Return the title of the α axis of a line."""
    if isinstance(axis, InterpolationAxis):
        return "α, from the origin (0) to the other model (1)"
    if isinstance(axis, ComputedAxis) and axis.norm == "none":
        return f"α, how much of {axis.recipe.label} was done{only_of([axis])} (1 = all)"
    return f"α, how far every weight tensor{only_of([axis])} has moved (1 = its own norm)"


def heading_of(place: int, axes: Sequence[Axis]) -> str:
    """Return the title of an axis of a plane, which has less room."""
    sign, axis = "αβ"[place], axes[place]
    if isinstance(axis, ComputedAxis):
        return f"{sign}, along {axis.recipe.label}"
    if isinstance(axis, RandomAxis):
        return f"{sign}, along random direction {place + 1} (seed {axis.seed})"
    return f"{sign}, origin (0) to the other model (1)" if place == 0 else f"{sign}, across, towards a third model (1)"


def short_heading_of(place: int, axes: Sequence[Axis]) -> str:
    """Return the title of an axis on paper."""
    sign, axis = "αβ"[place], axes[place]
    if isinstance(axis, ComputedAxis) and axis.norm == "none":
        return f"{sign} (1: refusal removed)"
    if not isinstance(axis, InterpolationAxis):
        return f"{sign} (1: the weights’ own norm)"
    return f"{sign} (0: origin, 1: {'third' if place else 'other'} model)"


def subject_of(landscape: Landscape) -> str:
    """Return the subspace in words: `3 random directions`, `line between two models`, `plane through three models`."""
    return subspace_text(landscape.axes, plane=landscape.subspace == "plane")


def subspace_text(axes: Sequence[Axis], *, plane: bool) -> str:
    """Return axes in words, as `subject_of` does."""
    between = [isinstance(axis, InterpolationAxis) for axis in axes]
    only = only_of(axes)
    if plane:
        planes = ("of two random directions", "of two models and a random direction", "through three models")
        return f"plane {planes[sum(between)]}{only}"
    if computed := [axis.recipe.label for axis in axes if isinstance(axis, ComputedAxis)]:
        return ", ".join(computed) + only
    if not any(between):
        return counted(len(between), "random direction") + only
    return "line between two models" if len(between) == 1 else f"{len(between)} lines"


def only_of(axes: Sequence[Axis]) -> str:
    """Return which tensors alone move along axes, as ` of layers.8-15 alone`; empty if none was chosen."""
    given = dict.fromkeys(axis.only for axis in axes if not isinstance(axis, InterpolationAxis) and axis.only)
    return "".join(f" of {printable(only)} alone" for only in given)


def judge_of(landscape: Landscape) -> str:
    """Return the name of the judge whose outcomes the figures count, printable."""
    return printable(all_judges_of(landscape)[0])


def all_judges_of(landscape: Landscape) -> list[str]:
    """Return the names of all judges as they are, beginning with the one whose outcomes the figures count."""
    first = landscape.survey.judges[0]
    return [first, *(judge for judge in landscape.by_judge if judge != first)]


def contradiction_text(clashes: Sequence[Clash]) -> str:
    """Return how the keyword judge and the refusal judge contradict each other, without a full stop."""
    told = []
    for clash in clashes:
        where = "" if clash.at == "origin" and len(clashes) == 1 else f"at the {clash.at} "
        found = [f"refusals in {clash.missed} of them"] if clash.missed else []
        found += [f"compliance in {clash.unseen} of the {clash.n - clash.answers} others"] if clash.unseen else []
        counts = f"{where}the keyword judge counts {clash.answers} of {clash.n} as answers"
        told.append(f"{counts}; the refusal judge finds {' and '.join(found)}")
    said = "; ".join(told)
    return said[:1].upper() + said[1:]


def clash_text(clashes: Sequence[Clash]) -> str:
    """Return the same as a sentence that says which judge decides; empty if they do not contradict each other."""
    return f"{contradiction_text(clashes)}; the verdict goes by the refusal judge." if clashes else ""


def measure_labels(kinds: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the label of each probe's measure, from (probe, kind): its kind, numbered if several have the same."""
    given = dict(kinds)
    found: dict[str, str] = {}
    for probe, kind in given.items():
        alike = [name for name, other in given.items() if other == kind]
        found[probe] = KINDS[kind] + (f" {alike.index(probe) + 1}" if len(alike) > 1 else "")
    return found
