"""Results on stdout: lines, tables, the figures of a run, and runs side by side."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from safescape.landscape import OF_A_BASIN, Comparison, Directions, Metric, Threshold, unit_of
from safescape.survey import KEYWORD, REFUSAL, tells_noise

if TYPE_CHECKING:
    from safescape.api.run import Run

_FIGURES = (
    ("origin_asr", "ASR at the origin", "%"),
    ("visage", "VISAGE (paper)", ""),
    ("visage_reference", "VISAGE (released code)", ""),
    ("safety_auc", "safety AUC", "%"),
    ("basin_radius", "basin radius |α|", ""),
)


def results() -> Console:
    """Return the console for results: as wide as the terminal, or unwrapped in a log."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 500)


def say(*lines: object) -> None:
    """Print lines of results as they are, without markup."""
    console = results()
    for line in lines:
        console.print(Text(str(line)))


def show_table(
    headings: Sequence[str | Text], rows: Iterable[Sequence[str]], *, left: Collection[int] = frozenset({0})
) -> None:
    """Print a table, whose columns are aligned to the right except those in `left`."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number in left else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    results().print(table)


def show_run(run: Run, *, as_json: bool, also: Sequence[str] = ()) -> None:
    """Print a run's figures, where its files are, and other files that were made of it."""
    if as_json:
        print(run.landscape.to_json(), end="")
        return
    # loads the drawing libraries, which `--help` need not wait for
    from safescape.views import (
        basin_said,
        beyond_said,
        by_keyword,
        corrected_cell,
        corrections_said,
        has_corrections,
        interval_said,
        noise_said,
        strict_said,
        thoughts_said,
        unscored_said,
        verdict_of,
    )

    landscape, verdict = run.landscape.decided, verdict_of(run.landscape)
    said = [verdict.sentence, verdict.clash, basin_said(landscape), unscored_said(landscape), beyond_said(landscape)]
    said += [strict_said(landscape), thoughts_said(landscape), noise_said(run.landscape)]
    if not landscape.complete:
        said.append(f"{_so_far(run)}; figures are of finished lines only")
    said += [interval_said(landscape)]
    for judge in landscape.waiting:
        said.append(f"{judge} has not read every answer: safescape judge {run.directory} --with {judge} resumes")
    say(*filter(None, said))
    clash, corrected = bool(landscape.clashes) and KEYWORD in landscape.by_judge, has_corrections(landscape)
    rows = [
        (
            _titled(title, name, landscape.limit),
            *_row(landscape.metrics[name], unit),
            *((by_keyword(landscape, name),) if clash else ()),
            *((corrected_cell(landscape, name),) if corrected else ()),
        )
        for name, title, unit in _FIGURES
        # the released code defines no VISAGE of a plane
        if landscape.complete is False or landscape.metrics[name].value is not None
        if landscape.limit.has_basin is not False or name not in OF_A_BASIN
    ]
    headings: tuple[str, ...] = ("figure", "value", "95 % interval", "about", "per line")
    if clash:
        headings = (f"figure, {REFUSAL} judge", *headings[1:], f"{KEYWORD} judge")
    show_table((*headings, "corrected") if corrected else headings, rows)
    files = (run.directory / file for file in ("report.html", "landscape.png", "landscape.json"))
    say(*_further(run), *filter(None, (corrections_said(landscape),)), *files, *also)


def _row(metric: Metric, unit: str) -> tuple[str, str, str, str]:
    value, interval, per_line = _cells(metric, unit)
    halving = f"; {metric.directions_to_halve} would halve it" if metric.directions_to_halve else ""
    return value, interval, f"{metric.about or ''}{halving}", per_line


def _titled(title: str, name: str, limit: Threshold) -> str:
    """The title of a figure; of a radius with its threshold, if that is not the user's."""
    return f"{title} to {limit.value:.1f} %" if name in OF_A_BASIN and limit.kind != "absolute" else title


def _so_far(run: Run) -> str:
    measured = sum(point.probe == run.survey.prompts.name for point in run.landscape.points)
    if run.survey.adaptive is not None:
        return f"{measured} points so far, of an adaptive scan that is not finished"
    return f"{measured} of {sum(1 for _ in run.survey.points())} points so far"


def _further(run: Run) -> Iterator[str]:
    """One line for each further judge, probe, measure, comparison of safety with capability, and defence."""
    from safescape.views import corrected_further, strict_lines  # loads the drawing libraries

    landscape = run.landscape.decided
    for judge, metrics in landscape.by_judge.items():
        if landscape.clashes and judge == KEYWORD:
            continue  # it has a column of its own
        found = [(key, title, unit) for key, title, unit in _FIGURES if key in ("origin_asr", "safety_auc")]
        of_judge = "; ".join(
            f"{title} {_with_interval(metrics[key], unit)}{corrected_further(landscape, judge, key)}"
            for key, title, unit in found
        )
        yield f"{judge} judge, compliance alone: {of_judge}" if tells_noise(judge) else f"{judge} judge: {of_judge}"
    for name, metrics in landscape.by_probe.items():
        less = landscape.differences.get(name, {})
        said = [f"{title} {_with_interval(metrics[key], unit)}" for key, title, unit in _FIGURES if key in less]
        change = _with_interval(less["origin_asr"], "%", signed=True) if "origin_asr" in less else "not measured"
        if name not in landscape.differences:
            change = "not paired, as its requests are others"
        yield f"{name}: {'; '.join(said) or _with_interval(metrics['origin_asr'], '%')}; ASR less the first's {change}"
    for measure in landscape.measures:
        if measure.waypoint is None and not any(measure.coords):
            unit = unit_of(measure.kind)
            kind = measure.kind.replace("_", "-")
            left = f", {measure.unscored} unscored" if measure.unscored else ""
            interval = f"{measure.low:.4g} to {measure.high:.4g}{left}"
            yield f"{measure.probe}: {kind} at the origin {measure.value:.4g}{unit} ({interval})"
    yield from strict_lines(landscape)
    for name, defence in landscape.defence.items():
        start, best = defence.at[0], defence.best
        if not best.distance:
            yield (
                f"{name}: no perturbation of the weights that costs at most {defence.max_loss:g} % of "
                f"{defence.capability} lowers its ASR of {start.asr:.1f} %"
            )
            continue
        yield (
            f"{name}: perturbing the weights by |α| = {best.distance:g} before answering takes its ASR from "
            f"{start.asr:.1f} % to {best.asr:.1f} % and costs {best.loss:.1f} % of {defence.capability}"
            + (f"; {best.unscored} answers there are unscored" if best.unscored else "")
        )


def show_directions(directions: Directions, *, out: Path | None, as_json: bool) -> None:
    """Print the figures of one model along several directions, and where the files are, if any."""
    if as_json:
        print(directions.to_json(), end="")
        return
    # loads the drawing libraries, which `--help` need not wait for
    from safescape.views import directions_table

    table = directions_table(directions)
    show_table(table.columns, table.rows)
    say("Distances are in % of the norm of the weights that move, with 95 % intervals.")
    if out is not None:
        say(*(out / file for file in ("directions.json", "directions.png")))


def show_comparison(comparison: Comparison, *, out: Path | None, as_json: bool) -> None:
    """Print the figures of several runs, their differences from the first one, and where the files are, if any."""
    if as_json:
        print(comparison.to_json(), end="")
        return
    # loads the drawing libraries, which `--help` need not wait for
    from safescape.views import shared_limit, verdict_of

    comparison = comparison.decided
    headings: list[str | Text] = ["figure"]
    for number, (name, model) in enumerate(zip(comparison.names, comparison.models, strict=True)):
        headings += [Text(f"{name}\n{model}"), *(["less the first"] if number else [])]
    further = [(name, name, "") for name in dict.fromkeys(name for there in comparison.at_origin for name in there)]
    found = [{**run.metrics, **there} for run, there in zip(comparison.landscapes, comparison.at_origin, strict=True)]
    rows = []
    for name, title, unit in (*_FIGURES, *further):
        row = [_titled(title, name, shared_limit(comparison))]
        none = [name in OF_A_BASIN and landscape.has_basin is False for landscape in comparison.landscapes]
        for number, (metrics, less) in enumerate(zip(found, comparison.differences, strict=True)):
            row.append("no basin" if none[number] else _with_interval(metrics.get(name, Metric()), unit))
            if number:
                meant = Metric() if none[0] or none[number] else less.get(name, Metric())
                row.append(_with_interval(meant, unit, signed=True) if meant.value is not None else "–")
        rows.append(row)
    show_table(headings, rows)
    verdicts = zip(comparison.names, map(verdict_of, comparison.landscapes), strict=True)
    say(*(f"{name}: {verdict.clash}" for name, verdict in verdicts if verdict.clash))
    if out is not None:
        say(*(out / file for file in ("comparison.html", "comparison.png", "comparison.json")))


def _with_interval(metric: Metric, unit: str, *, signed: bool = False) -> str:
    value, interval, _ = _cells(metric, unit)
    plus = "+" if signed and metric.value is not None and metric.value > 0 else ""
    return f"{plus}{value} ({interval})" if interval else value


def _cells(metric: Metric, unit: str) -> tuple[str, str, str]:
    if metric.value is None:
        return "not measured", "", ""
    from safescape.views.text.words import decimal  # loads the drawing libraries

    def number(value: float) -> str:
        return f"{value:.1f} {unit}".strip() if abs(value) >= 1 or unit else decimal(value, 3)

    value = f">= {number(metric.value)}" if metric.at_least else number(metric.value)
    per_line = " ".join("–" if v is None else number(v) for v in metric.per_line)
    left = f", {metric.unscored} unscored" if metric.unscored else ""
    if metric.low is None:
        interval = "not determined" if metric.high is None else f"{number(metric.high)} or less"
    else:
        end = "or more" if metric.high is None or metric.at_least else f"to {number(metric.high)}"
        interval = f"{number(metric.low)} {end}"
    return value, interval + left, per_line
