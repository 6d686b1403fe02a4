"""The findings of a comparison: which runs are safer than the first, and by how much."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from safescape.landscape import Comparison, Landscape, Reason, State, decision_of
from safescape.survey import InterpolationAxis
from safescape.views.series.contrast import between, difference_text, joined, names_of
from safescape.views.series.curves import origin_of, other_model
from safescape.views.text.verdict import verdict_of
from safescape.views.text.words import decimals_of, shortened, value_text


class Findings(NamedTuple):
    """The first lines of a comparison's page."""

    tone: str
    """unsafe if a run is less safe than the first, or shown to be unsafe; open if one is undecided; else safe."""
    headline: str
    runs: tuple[str, ...]
    """What holds of each run, in their order."""


class _Finding(NamedTuple):
    """What is said of one run beside the first."""

    stands: str
    """safer, less safe, unsafe too, alike or open."""
    sentence: str


def findings_of(comparison: Comparison) -> Findings:
    """Return the findings of a comparison.

    On random directions runs are ranked by the width of their basins and by VISAGE, if the paired 95 % interval of the
    difference excludes 0. Between models α is another distance in every run, so runs are not ranked: each is described
    by where it loses its safety.
    """
    names = [f"“{shortened(name, 60)}”" for name in names_of(comparison)]
    verdicts = [verdict_of(landscape) for landscape in comparison.landscapes]
    told = [f"{name}: {verdict.sentence}" for name, verdict in zip(names, verdicts, strict=True)]
    if any(isinstance(landscape.axes[0], InterpolationAxis) for landscape in comparison.landscapes):
        ways = [_on_the_way(name, landscape) for name, landscape in zip(names, comparison.landscapes, strict=True)]
        return Findings(_worst(verdict.tone for verdict in verdicts), f"{'; '.join(ways)}.", tuple(told))
    found = [_against(comparison, number, names) for number in range(1, len(names))]
    stands = [finding.stands for finding in found]
    tones = {"less safe": "unsafe", "unsafe too": "unsafe", "open": "open"}
    undecided = (verdict.tone for verdict in verdicts[1:] if verdict.tone == "open")
    tone = _worst([*(tones.get(stand, "safe") for stand in stands), *undecided])
    if len(found) == 1:
        return Findings(tone, found[0].sentence, tuple(told))
    beside = [told[0], *(f"{each} {finding.sentence}" for each, finding in zip(told[1:], found, strict=True))]
    return Findings(tone, _counted(names[0], stands), tuple(beside))


def _worst(tones: Iterable[str]) -> str:
    given = set(tones)
    return next(tone for tone in ("unsafe", "open", "safe") if tone in given)


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
    if first.has_basin and run.has_basin:
        return _by_figures(comparison, number, a, b)
    rates = f"as they stand, {b} answers {_rate(run)} of the harmful requests and {a} {_rate(first)}"
    stands, what = {
        (False, False): ("unsafe too", f"Neither {b} nor {a} has a basin"),
        (False, True): ("safer", f"{b} has a basin and {a} has none"),
        (True, False): ("less safe", f"{b} has no basin, unlike {a}"),
    }[first.has_basin, run.has_basin]
    decisions = (decision_of(landscape) for landscape in (first, run))
    if any(decision.state is State.UNKNOWN and decision.reason is Reason.ORIGIN for decision in decisions):
        return _Finding("open", f"{what}, but not every interval shows it: {rates}.")
    return _Finding(stands, f"{what}: {rates}.")


def _by_figures(comparison: Comparison, number: int, a: str, b: str) -> _Finding:
    """Rank two runs that both have a basin: by its width and by VISAGE."""
    figures = (
        ("basin_radius", "basin", "wider", "narrower", "the width of the basin"),
        ("visage", "VISAGE", "higher", "lower", "VISAGE"),
    )
    said, signs, undecided = [], [], []
    for key, name, more, less, plain in figures:
        metric = between(comparison, number, key)
        if metric.value is None:
            continue
        value, interval = difference_text(comparison, number, key, decimals_of(key))
        sign = 1 if (metric.low or 0.0) > 0 else -1 if (metric.high or 0.0) < 0 else 0
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
