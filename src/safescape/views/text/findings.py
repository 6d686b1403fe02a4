"""What a reader in a hurry takes away from a comparison: which runs are safer than the first, and by what.

Plain text: who sets it on a page escapes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from safescape.landscape import Comparison, Landscape, Metric
from safescape.survey import InterpolationAxis
from safescape.views.series.contrast import between, difference_text, joined, names_of
from safescape.views.series.curves import origin_of, other_model
from safescape.views.text.verdict import verdict_of
from safescape.views.text.words import shortened, value_text

__all__ = ["Findings", "findings_of"]


class Findings(NamedTuple):
    """The first lines of a comparison's page."""

    tone: str
    """unsafe if a run is less safe than the first or unsafe as it is, open if one is undecided, else safe."""
    headline: str
    runs: tuple[str, ...]
    """What holds of each run, in their order."""


class _Finding(NamedTuple):
    """What is said of one run beside the first."""

    stands: str
    """safer, less safe, unsafe too, alike or open."""
    sentence: str


def findings_of(comparison: Comparison) -> Findings:
    """Return what a reader in a hurry takes away.

    On random directions runs are judged by the width of their basins and by VISAGE, where the paired 95 % interval of
    the difference leaves out 0. Between models α counts another distance in every run, so they are not ranked: each is
    told by where it loses its safety.
    """
    names = [f"“{shortened(name, 60)}”" for name in names_of(comparison)]
    verdicts = [verdict_of(landscape) for landscape in comparison.landscapes]
    told = [f"{name}: {verdict.headline}" for name, verdict in zip(names, verdicts, strict=True)]
    if any(isinstance(landscape.axes[0], InterpolationAxis) for landscape in comparison.landscapes):
        ways = [_on_the_way(name, landscape) for name, landscape in zip(names, comparison.landscapes, strict=True)]
        tones = {verdict.tone for verdict in verdicts}
        tone = next(tone for tone in ("unsafe", "open", "safe") if tone in tones)
        return Findings(tone, f"{'; '.join(ways)}.", tuple(told))
    found = [_against(comparison, number, names) for number in range(1, len(names))]
    stands = [finding.stands for finding in found]
    tone = "unsafe" if {"less safe", "unsafe too"} & set(stands) else "open" if "open" in stands else "safe"
    if len(found) == 1:
        return Findings(tone, found[0].sentence, tuple(told))
    beside = [told[0], *(f"{each} {finding.sentence}" for each, finding in zip(told[1:], found, strict=True))]
    return Findings(tone, _counted(names[0], stands), tuple(beside))


def _counted(first: str, stands: Sequence[str]) -> str:
    said = {
        "less safe": "less safe",
        "safer": "safer",
        "unsafe too": "without a basin as it is",
        "alike": "not to be told apart from it",
        "open": "undecided",
    }
    parts = [
        f"{number} {'is' if number == 1 else 'are'} {words}"
        for kind, words in said.items()
        if (number := stands.count(kind))
    ]
    return f"Of the {len(stands)} runs beside {first}, {joined(parts)}."


def _against(comparison: Comparison, number: int, names: Sequence[str]) -> _Finding:
    first, run = comparison.landscapes[0], comparison.landscapes[number]
    a, b = names[0], names[number]
    if first.has_basin is None or run.has_basin is None:
        return _Finding("open", f"{b} and {a} cannot be compared yet: a model itself is not measured.")
    stand = f"as they stand, {b} answers {_rate(run)} of the harmful requests and {a} {_rate(first)}"
    if not first.has_basin and not run.has_basin:
        return _Finding("unsafe too", f"Neither {b} nor {a} has a basin: {stand}.")
    if not first.has_basin:
        return _Finding("safer", f"{b} has a basin and {a} has none: {stand}.")
    if not run.has_basin:
        return _Finding("less safe", f"{b} has no basin, unlike {a}: {stand}.")
    return _by_figures(comparison, number, a, b)


def _by_figures(comparison: Comparison, number: int, a: str, b: str) -> _Finding:
    """Both have a basin: which is wider, and which has the higher VISAGE."""
    figures = (
        ("basin_radius", 3, "basin", "wider", "narrower", "the width of the basin"),
        ("visage", 1, "VISAGE", "higher", "lower", "VISAGE"),
    )
    said, signs, undecided = [], [], []
    for key, decimals, name, more, less, plain in figures:
        metric = between(comparison, number, key)
        if metric.value is None:
            continue
        value, interval = difference_text(comparison, number, key, decimals)
        sign = _sign(metric)
        signs.append(sign)
        if sign:
            said.append(f"its {name} is {more if sign > 0 else less} ({value}, 95 %: {interval})")
        else:
            undecided.append(f"{plain} ({value}, 95 %: {interval})")
    if not signs:
        never = all(comparison.landscapes[n].metrics["basin_radius"].at_least for n in (0, number))
        why = "neither left its basin" if never else "no figure is finished in both"
        return _Finding("open", f"{b} and {a} cannot be told apart yet: {why}.")
    if not said:
        return _Finding("alike", f"{b} cannot be told apart from {a} by {' or '.join(undecided)}.")
    split = 1 in signs and -1 in signs
    sentence = f"{b} against {a}: {(', but ' if split else ' and ').join(said)}"
    if undecided:
        sentence += f"; by {' and '.join(undecided)} they cannot be told apart"
    return _Finding("open" if split else "safer" if 1 in signs else "less safe", f"{sentence}.")


def _sign(metric: Metric) -> int:
    """Which side of 0 the 95 % interval lies on; 0 if it holds it."""
    if metric.low is None or metric.high is None:
        return 0
    return (metric.low > 0) - (metric.high < 0)


def _rate(landscape: Landscape) -> str:
    return value_text(landscape.metrics["origin_asr"], 1, " %")


def _on_the_way(name: str, landscape: Landscape) -> str:
    """What becomes of safety on a run's way to its other model."""
    if origin_of(landscape) is None:
        return f"{name} is not measured yet"
    if not landscape.has_basin:
        return f"{name} has no basin (ASR {_rate(landscape)} at the origin)"
    lost, other = landscape.lost_at, other_model(landscape)
    if lost is not None and lost < 1.0:
        return f"{name} loses its safety at α = {lost:.2f}"
    if other is None:
        return f"{name} is safe as far as it is measured"
    return f"{name} stays safe up to the other model (ASR {other.asr:.1f} %)"
