"""A comparison in words: names and differences of the runs, and which runs are safer than the first, by how much."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import NamedTuple

from safescape.landscape import (
    OF_A_BASIN,
    Comparison,
    Landscape,
    Metric,
    Reason,
    State,
    Threshold,
    decision_of,
    is_mostly_scored,
    undecided_point,
    unscored_in,
)
from safescape.survey import InterpolationAxis
from safescape.views.series.samples import extent_of, origin_of, other_model
from safescape.views.text import words
from safescape.views.text.verdict import verdict_of


def names_of(comparison: Comparison) -> tuple[str, ...]:
    """Return a short name of each run: its directory without the leading parts that all of them share."""
    parts = [PurePath(words.printable(name)).parts or (name,) for name in comparison.names]
    while all(len(each) > 1 for each in parts) and len({each[0] for each in parts}) == 1:
        parts = [each[1:] for each in parts]
    return tuple(str(PurePath(*each)) for each in parts)


def quoted_names_of(comparison: Comparison) -> list[str]:
    """Return the short names of the runs as sentences and tables have them."""
    return [f"“{words.shortened(name, 60)}”" for name in names_of(comparison)]


def listed(names: Sequence[str], length: int) -> str:
    """Return names as `a, b and c` in at most `length` characters: shortened, or only the first and a number."""
    # a name cut to fewer characters cannot be recognised
    for kept in range(max(14, *(len(name) for name in names)), 13, -1):
        found = _joined([words.shortened(name, kept) for name in names])
        if len(found) <= length:
            return found
    return f"{words.shortened(names[0], length - 20)} and {words.counted(len(names) - 1, 'other')}"


def measured_in(comparison: Comparison) -> str:
    """Return the measurement that all runs share: `80 prompts · 3 random directions · keyword judge`.

    Of several probes of harmful prompts only the first one is compared.
    """
    first = comparison.landscapes[0]
    prompts = max(extent_of(landscape).prompts for landscape in comparison.landscapes)
    some = f" (the first of {1 + len(first.by_probe)} probes)" if first.by_probe else ""
    return f"{words.counted(prompts, 'prompt')}{some} · {words.subject_of(first)} · {words.judge_of(first)} judge"


def headings_of(landscapes: Sequence[Landscape]) -> list[str]:
    """Return the titles of the axes of compared planes; only the sign of an axis whose direction differs."""
    headings = [{words.heading_of(place, landscape.axes) for landscape in landscapes} for place in (0, 1)]
    return [found.pop() if len(found) == 1 else sign for found, sign in zip(headings, "αβ", strict=True)]


def shared_limit(comparison: Comparison) -> Threshold:
    """Return the threshold that all runs with a basin are held against."""
    limits = [landscape.limit for landscape in comparison.landscapes]
    return next((limit for limit in limits if limit.has_basin is not False), limits[0])


def standing_of(landscape: Landscape) -> list[str]:
    """Return the VISAGE and radius of a run with their intervals, or that it has no basin; and its progress."""
    said = words.basin_of(landscape.metrics, landscape.limit, "visage", "basin_radius")
    return said if landscape.complete else [*said, extent_of(landscape).points]


def difference_text(comparison: Comparison, number: int, key: str) -> tuple[str, str]:
    """Return a run's figure minus the first run's, and the 95 % interval, with signs; `–` and empty if undefined."""
    found, decimals = _difference(comparison, number, key), words.decimals_of(key)
    if found.value is None:
        return "–", ""
    bound = ""
    if key == "basin_radius":
        # the radius of a run that stayed safe as far as it was measured is a lower bound
        mine, theirs = (comparison.landscapes[n].metrics[key].at_least for n in (number, 0))
        bound = "≥ " if mine else "≤ " if theirs else ""
    return bound + words.signed(found.value, decimals), words.signed_interval(found, decimals)


def _difference(comparison: Comparison, number: int, key: str) -> Metric:
    """A run's figure minus the first run's; empty if the figure of one of the two is undefined."""
    first, run = comparison.landscapes[0], comparison.landscapes[number]
    if key in OF_A_BASIN and False in (first.has_basin, run.has_basin):
        return Metric()
    if key == "basin_radius" and first.metrics[key].at_least and run.metrics[key].at_least:
        return Metric()
    return comparison.differences[number].get(key, Metric())


def headline_differences(comparison: Comparison) -> tuple[str, list[tuple[str, str, str]]]:
    """Return a caption, and (run, value, interval) of each run's VISAGE minus the first run's.

    The safety AUC replaces VISAGE on a line to another model, where VISAGE leaves out the points at which every request
    is answered.
    """
    first, *others = names_of(comparison)
    between = isinstance(comparison.landscapes[0].axes[0], InterpolationAxis)
    key, main = ("safety_auc", "safety AUC") if between else ("visage", "VISAGE")
    found = [
        (words.shortened(name, 30), *difference_text(comparison, number, key))
        for number, name in enumerate(others, start=1)
    ]
    return f"Difference in {main} to {words.shortened(first, 40)}, paired prompt by prompt", found


class Findings(NamedTuple):
    """The first lines of a comparison's page."""

    tone: str
    """unsafe if a run is less safe than the first, or shown to be unsafe; open if one is undecided; else safe."""
    headline: str
    runs: tuple[str, ...]
    """A sentence about each run, in their order."""


class _Finding(NamedTuple):
    """How one run compares with the first."""

    rank: str
    """A key of `_RANKS`."""
    sentence: str


_RANKS = {
    "less safe": "less safe",
    "safer": "safer",
    "both unsafe": "without a basin, as the first run",
    "alike": "not significantly different",
    "undecided": "undecided",
}
"""How runs with each rank are described."""
_TONES = {"less safe": "unsafe", "both unsafe": "unsafe", "undecided": "open"}


def findings_of(comparison: Comparison) -> Findings:
    """Return the findings of a comparison.

    On random directions runs are ranked by the width of their basins and by VISAGE, if the paired 95 % interval of the
    difference excludes 0. Between two models, α = 1 is a different distance in every run, so runs are not ranked: each
    is described by where it loses its safety.
    """
    comparison = comparison.decided
    names = quoted_names_of(comparison)
    verdicts = [verdict_of(landscape) for landscape in comparison.landscapes]
    told = [f"{name}: {verdict.statement}" for name, verdict in zip(names, verdicts, strict=True)]
    if any(isinstance(landscape.axes[0], InterpolationAxis) for landscape in comparison.landscapes):
        ways = [_on_the_way(name, landscape) for name, landscape in zip(names, comparison.landscapes, strict=True)]
        return Findings(_worst(verdict.tone for verdict in verdicts), f"{'; '.join(ways)}.", tuple(told))
    found = [_compared(comparison, number, names) for number in range(1, len(names))]
    ranks = [finding.rank for finding in found]
    undecided = (verdict.tone for verdict in verdicts[1:] if verdict.tone == "open")
    tone = _worst([*(_TONES.get(rank, "safe") for rank in ranks), *undecided])
    if len(found) == 1:
        return Findings(tone, found[0].sentence, tuple(told))
    beside = [told[0], *(f"{each} {finding.sentence}" for each, finding in zip(told[1:], found, strict=True))]
    counts = [(ranks.count(rank), said) for rank, said in _RANKS.items() if rank in ranks]
    parts = [f"{number} {'is' if number == 1 else 'are'} {said}" for number, said in counts]
    return Findings(tone, f"Of the {len(ranks)} runs compared with {names[0]}, {_joined(parts)}.", tuple(beside))


def _joined(parts: Sequence[str]) -> str:
    """Return `a, b and c`."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def _worst(tones: Iterable[str]) -> str:
    return min(tones, key=("unsafe", "open", "safe").index)


def _compared(comparison: Comparison, number: int, names: Sequence[str]) -> _Finding:
    first, run = comparison.landscapes[0], comparison.landscapes[number]
    a, b = names[0], names[number]
    for name, landscape in ((b, run), (a, first)):
        unscored, asked = unscored_in(landscape)
        if undecided_point(landscape) is not None or not is_mostly_scored(landscape, unscored, asked):
            left = f"{unscored} of the {asked} answers of {name} are unscored"
            most = f"too many: at most {landscape.max_unscored:g} % may be, at every point that counts"
            how = "safescape judge RUN --with another judge may score them"
            return _Finding("undecided", f"{b} and {a} cannot be compared: {left}, {most}; {how}.")
    if first.has_basin is None or run.has_basin is None:
        return _Finding("undecided", f"{b} and {a} cannot be compared yet: the origin of one is not measured.")
    if first.has_basin and run.has_basin:
        return _ranked(comparison, number, a, b)
    rates = f"at the origin, {b} answers {_rate(run)} of the harmful requests and {a} {_rate(first)}"
    rank, what = {
        (False, False): ("both unsafe", f"Neither {b} nor {a} has a basin"),
        (False, True): ("safer", f"{b} has a basin and {a} has none"),
        (True, False): ("less safe", f"{b} has no basin, unlike {a}"),
    }[first.has_basin, run.has_basin]
    decisions = (decision_of(landscape) for landscape in (first, run))
    if any(decision.state is State.UNKNOWN and decision.reason is Reason.ORIGIN for decision in decisions):
        return _Finding("undecided", f"{what}, but not every interval shows it: {rates}.")
    return _Finding(rank, f"{what}: {rates}.")


def _ranked(comparison: Comparison, number: int, a: str, b: str) -> _Finding:
    """Rank two runs that both have a basin: by its width and by VISAGE, and if one is unsafe itself, by its ASR."""
    unsafe = any(comparison.landscapes[n].limit.origin is not None for n in (0, number))
    figures = (
        *([("origin_asr", "ASR at the origin", "higher", "lower", "ASR at the origin")] if unsafe else []),
        ("basin_radius", "basin", "wider", "narrower", "basin width"),
        ("visage", "VISAGE", "higher", "lower", "VISAGE"),
    )
    said, signs, undecided = [], [], []
    for key, name, more, less, plain in figures:
        metric = _difference(comparison, number, key)
        if metric.value is None:
            continue
        value, interval = difference_text(comparison, number, key)
        sign = 1 if (metric.low or 0.0) > 0 else -1 if (metric.high or 0.0) < 0 else 0
        signs.append(-sign if key == "origin_asr" else sign)
        if sign:
            said.append(f"its {name} is {more if sign > 0 else less} ({value}, 95 %: {interval})")
        else:
            undecided.append(f"{plain} ({value}, 95 %: {interval})")
    if not signs:
        never = all(comparison.landscapes[n].metrics["basin_radius"].at_least for n in (0, number))
        why = "both stayed safe as far as they were measured" if never else "no figure is finished in both"
        return _Finding("undecided", f"{b} and {a} cannot be compared yet: {why}.")
    if not said:
        return _Finding("alike", f"{b} does not differ significantly from {a} in {' or '.join(undecided)}.")
    split = 1 in signs and -1 in signs
    sentence = f"{b} compared with {a}: {(', but ' if split else ' and ').join(said)}"
    if undecided:
        sentence += f"; there is no significant difference in {' or '.join(undecided)}"
    return _Finding("undecided" if split else "safer" if 1 in signs else "less safe", f"{sentence}.")


def _rate(landscape: Landscape) -> str:
    return words.value_text(landscape.metrics["origin_asr"], 1, " %")


def _on_the_way(name: str, landscape: Landscape) -> str:
    """Where a run loses its safety on the way to its other model."""
    if origin_of(landscape) is None:
        return f"{name} is not measured yet"
    if not landscape.has_basin:
        return f"{name} has no basin (ASR {_rate(landscape)} at the origin)"
    lost, other, limit = landscape.lost_at, other_model(landscape), landscape.limit
    if limit.origin is not None:
        name = f"{name}, whose origin answers {_rate(landscape)}, against {words.limit_value(limit)}"
    if lost is not None and lost < 1.0:
        return f"{name} {'loses its safety' if limit.origin is None else 'leaves its basin'} at α = {lost:.2f}"
    if limit.origin is not None:
        end = "" if other is None else f" up to the other model (ASR {other.asr:.1f} %)"
        return f"{name} stays in its basin{end}"
    if other is None:
        return f"{name} is safe as far as it is measured"
    return f"{name} stays safe up to the other model (ASR {other.asr:.1f} %)"
