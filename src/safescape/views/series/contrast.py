"""A comparison in words that its picture and its page share: the names of the runs, and their differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple

from safescape.landscape import OF_A_BASIN, Comparison, Landscape, Metric
from safescape.survey import InterpolationAxis
from safescape.views.series.curves import Course, extent_of, measure_courses
from safescape.views.text import words


def names_of(comparison: Comparison) -> tuple[str, ...]:
    """Return a short name of each run: its directory without the leading parts that all of them share."""
    parts = [PurePath(words.printable(name)).parts or (name,) for name in comparison.names]
    while all(len(each) > 1 for each in parts) and len({each[0] for each in parts}) == 1:
        parts = [each[1:] for each in parts]
    return tuple(str(PurePath(*each)) for each in parts)


def listed(names: Sequence[str], length: int) -> str:
    """Return names as `a, b and c` in at most `length` characters: shortened, or only the first and a number."""
    # a name cut to fewer characters cannot be recognised
    for kept in range(max(14, *(len(name) for name in names)), 13, -1):
        found = joined([words.shortened(name, kept) for name in names])
        if len(found) <= length:
            return found
    return f"{words.shortened(names[0], length - 20)} and {words.counted(len(names) - 1, 'other')}"


def joined(parts: Sequence[str]) -> str:
    """Return `a, b and c`."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def measured_in(comparison: Comparison) -> str:
    """Return the measurement that all runs share: `80 prompts · 3 random directions · keyword judge`.

    Of several probes of harmful prompts only the first one is compared.
    """
    first = comparison.landscapes[0]
    prompts = max(extent_of(landscape).prompts for landscape in comparison.landscapes)
    some = f" (the first of {1 + len(first.by_probe)} probes)" if first.by_probe else ""
    return f"{words.counted(prompts, 'prompt')}{some} · {words.subject_of(first)} · {words.judge_of(first)} judge"


def standing_of(landscape: Landscape) -> list[str]:
    """Return the VISAGE and radius of a run with their intervals, or that it has no basin; and its progress."""
    said = words.basin_of(landscape.metrics, landscape.safe_below, "visage", "basin_radius")
    extent = extent_of(landscape)
    return said if landscape.complete else [*said, extent.points]


def between(comparison: Comparison, number: int, key: str) -> Metric:
    """Return a run's figure minus the first run's; empty if the figure of one of the two is undefined."""
    first, run = comparison.landscapes[0], comparison.landscapes[number]
    if key in OF_A_BASIN and False in (first.has_basin, run.has_basin):
        return Metric()
    if key == "basin_radius" and first.metrics[key].at_least and run.metrics[key].at_least:
        return Metric()
    return comparison.differences[number].get(key, Metric())


def difference_text(comparison: Comparison, number: int, key: str, decimals: int = 1) -> tuple[str, str]:
    """Return the difference of `between` and its 95 % interval, with signs; a dash and an empty text if undefined."""
    found = between(comparison, number, key)
    if found.value is None or found.low is None or found.high is None:
        return "–", ""
    bound = ""
    if key == "basin_radius":
        # the radius of a run that never left its basin is a lower bound
        mine, theirs = (comparison.landscapes[n].metrics[key].at_least for n in (number, 0))
        bound = "≥ " if mine else "≤ " if theirs else ""
    return (
        bound + words.signed(found.value, decimals),
        f"{words.signed(found.low, decimals)} to {words.signed(found.high, decimals)}",
    )


def headline_differences(comparison: Comparison) -> tuple[str, list[tuple[str, str, str]]]:
    """Return a caption, and (run, value, interval) of each run's VISAGE minus the first run's.

    The safety AUC takes its place where one of the two has no basin, as VISAGE means nothing there, and on a line to
    another model, where VISAGE leaves out the points at which every request is answered.
    """
    first, *others = names_of(comparison)
    leads = isinstance(comparison.landscapes[0].axes[0], InterpolationAxis)
    keys = []
    for number in range(1, len(comparison.names)):
        basins = {comparison.landscapes[n].has_basin for n in (0, number)}
        keys.append("safety_auc" if False in basins or leads else "visage")
    main = "VISAGE" if "visage" in keys else "safety AUC"
    found = []
    for number, (name, key) in enumerate(zip(others, keys, strict=True), start=1):
        label = (
            f"{words.shortened(name, 16)}, safety AUC"
            if key == "safety_auc" and main == "VISAGE"
            else words.shortened(name, 30)
        )
        found.append((label, *difference_text(comparison, number, key)))
    return f"Difference in {main} to {words.shortened(first, 40)}, paired prompt by prompt", found


class Panel(NamedTuple):
    """One probe of over-refusal or capability over all runs."""

    label: str
    kind: str
    courses: tuple[tuple[int, Course], ...]
    """(number of the run, its figures along α) of the runs in which it is measured."""


def panels_of(comparison: Comparison) -> list[Panel]:
    """Return what was measured beside the ASR, in the order of the survey."""
    found: dict[tuple[str, str], list[tuple[int, Course]]] = {}
    for number, landscape in enumerate(comparison.landscapes):
        for course in measure_courses(landscape):
            found.setdefault((course.probe, course.kind), []).append((number, course))
    labels = words.measure_labels(list(found))
    return [Panel(labels[probe], kind, tuple(courses)) for (probe, kind), courses in found.items()]
