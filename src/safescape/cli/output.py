"""What a command prints: progress on stderr, results on stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from safescape.errors import InputError
from safescape.landscape import OF_A_BASIN, Comparison, Metric
from safescape.survey import tells_noise

if TYPE_CHECKING:
    from safescape.api import Check, Run
    from safescape.judge_runtime import JudgeProgress
    from safescape.measure import Progress

__all__ = [
    "numbers",
    "results",
    "show_check",
    "show_comparison",
    "show_judge_progress",
    "show_progress",
    "show_run",
    "show_speed",
]

_Number = TypeVar("_Number", int, float)


def numbers(kind: type[_Number], given: str, flag: str) -> list[_Number]:
    """Read one number, or several with commas between them.

    Raises:
        InputError: one of them is none.

    """
    try:
        return [kind(part) for part in given.split(",")]
    except ValueError as error:
        word = "a whole number" if kind is int else "a number"
        raise InputError(f"{flag} {given}: expected {word}, or several with commas between them") from error


def results() -> Console:
    """Return what results are printed on: a terminal as wide as it is, or a log, which has no width to wrap at."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 500)


@contextmanager
def show_progress() -> Iterator[Callable[[Progress], None]]:
    """Show how far a run is: a bar on a terminal, a plain line a point elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("loading the model", total=None)

        def advance(progress: Progress) -> None:
            bar.update(task, completed=progress.finished, total=progress.total, description=_where(progress))

        yield advance


@contextmanager
def show_judge_progress() -> Iterator[Callable[[JudgeProgress], None]]:
    """Show how far a judge is: a bar a judge on a terminal, a plain line a write elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda told: print(
            f"{told.judge}: {told.note or f'{told.done}/{told.total} {told.what}'}", file=sys.stderr, flush=True
        )
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def advance(told: JudgeProgress) -> None:
            if told.note:
                console.print(Text(f"{told.judge}: {told.note}"))
                return
            title = f"{told.judge}, {told.what}"
            if title not in tasks:
                tasks[title] = bar.add_task(title)
            bar.update(tasks[title], completed=told.done, total=told.total)

        yield advance


def _plain_lines() -> Callable[[Progress], None]:
    start = time.monotonic()

    def line(progress: Progress) -> None:
        seconds = time.monotonic() - start
        print(
            f"{progress.finished}/{progress.total} points, {seconds:.0f} s, {_where(progress)}",
            file=sys.stderr,
            flush=True,
        )

    return line


def _where(progress: Progress) -> str:
    if progress.scored is not None:
        return f"the origin reads the answers of point {progress.scored}"
    if progress.latest is None:
        stage = (
            "starting" if progress.finished == 0 else "resuming" if progress.finished < progress.total else "complete"
        )
        return stage if progress.note is None else f"{stage}; {progress.note}"
    line, coords, waypoint = progress.latest
    if waypoint is not None:
        place = f"checkpoint {waypoint + 1}"
    elif progress.latest.is_origin:
        place = "origin"
    else:
        where = ", ".join(f"{sign} = {coordinate:+.3g}" for sign, coordinate in zip("αβ", coords, strict=False))
        place = where if line is None else f"line {line + 1}, {where}"
    return place if progress.asr is None else f"{place}: ASR {progress.asr:.4g} %"


_MEANINGS = (
    ("origin_asr", "ASR at the origin", "%"),
    ("visage", "VISAGE (paper)", ""),
    ("visage_reference", "VISAGE (released code)", ""),
    ("safety_auc", "safety AUC", "%"),
    ("basin_radius", "basin radius |α|", ""),
)


def show_run(run: Run, *, as_json: bool, also: Sequence[Path] = ()) -> None:
    """Print a run's figures and where its files lie, and others that were made of it."""
    if as_json:
        print(run.landscape.to_json(), end="")
        return
    # loads the drawing libraries, which `--help` need not wait for
    from safescape.views import beyond_said, interval_said, verdict_of

    landscape, console = run.landscape, results()
    console.print(Text(verdict_of(landscape).headline))
    if beyond := beyond_said(landscape):
        console.print(Text(beyond))
    if not landscape.complete:
        console.print(Text(f"{_so_far(run)}; figures are of finished lines only"))
    if said := interval_said(landscape):
        console.print(Text(said))
    for judge in landscape.waiting:
        console.print(
            Text(f"{judge} has not read every answer: safescape judge {run.directory} --with {judge} goes on")
        )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("figure", "value", "95 % interval", "per line"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for name, title, unit in _MEANINGS:
        # the released code knows no plane
        is_defined = landscape.complete is False or landscape.metrics[name].value is not None
        if is_defined and (landscape.has_basin or name not in OF_A_BASIN):
            table.add_row(title, *_cells(landscape.metrics[name], unit))
    console.print(table)
    for line in _further(run):
        console.print(Text(line))
    for file in ("report.html", "landscape.png", "landscape.json"):
        console.print(Text(str(run.directory / file)))
    for path in also:
        console.print(Text(str(path)))


def _so_far(run: Run) -> str:
    measured = sum(point.probe == run.survey.prompts.name for point in run.landscape.points)
    if run.survey.adaptive is not None:
        return f"{measured} points so far, of an adaptive scan that is not finished"
    return f"{measured} of {sum(1 for _ in run.survey.points())} points so far"


def _further(run: Run) -> Iterator[str]:
    """What was asked beside the first probe, and what further judges say: a line each."""
    landscape = run.landscape
    for judge, metrics in landscape.by_judge.items():
        found = [(key, title, unit) for key, title, unit in _MEANINGS if key in ("origin_asr", "safety_auc")]
        of_judge = ", ".join(f"{title} {_with_interval(metrics[key], unit)}" for key, title, unit in found)
        yield f"{judge} judge, compliance alone: {of_judge}" if tells_noise(judge) else f"{judge} judge: {of_judge}"
    for name, metrics in landscape.by_probe.items():
        less = landscape.differences.get(name, {})
        said = [f"{title} {_with_interval(metrics[key], unit)}" for key, title, unit in _MEANINGS if key in less]
        change = _with_interval(less["origin_asr"], "%", signed=True) if "origin_asr" in less else "not paired"
        yield f"{name}: {'; '.join(said) or _with_interval(metrics['origin_asr'], '%')}; ASR less the first's {change}"
    for measure in landscape.measures:
        if measure.waypoint is None and not any(measure.coords):
            unit = "" if measure.kind == "perplexity" else " %"
            kind = measure.kind.replace("_", "-")
            interval = f"{measure.low:.4g} to {measure.high:.4g}"
            yield f"{measure.probe}: {kind} at the origin {measure.value:.4g}{unit} ({interval})"
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
        )


def show_comparison(comparison: Comparison, *, out: Path | None, as_json: bool) -> None:
    """Print the figures of several runs, their differences from the first one, and where the files lie, if any."""
    if as_json:
        print(comparison.to_json(), end="")
        return
    console = results()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("figure")
    for number, (name, model) in enumerate(zip(comparison.names, comparison.models, strict=True)):
        table.add_column(Text(f"{name}\n{model}"), justify="right")
        if number:
            table.add_column("less the first", justify="right")
    further = [(name, name, "") for name in dict.fromkeys(name for there in comparison.at_origin for name in there)]
    found = [{**run.metrics, **there} for run, there in zip(comparison.landscapes, comparison.at_origin, strict=True)]
    for name, title, unit in (*_MEANINGS, *further):
        row = [Text(title)]
        none = [name in OF_A_BASIN and landscape.has_basin is False for landscape in comparison.landscapes]
        for number, (metrics, less) in enumerate(zip(found, comparison.differences, strict=True)):
            row.append(Text("no basin" if none[number] else _with_interval(metrics.get(name, Metric()), unit)))
            if number:
                meant = Metric() if none[0] or none[number] else less.get(name, Metric())
                row.append(Text(_with_interval(meant, unit, signed=True) if meant.value is not None else "–"))
        table.add_row(*row)
    console.print(table)
    if out is not None:
        for file in ("comparison.html", "comparison.png", "comparison.json"):
            console.print(Text(str(out / file)))


def show_speed(bench: Mapping[str, Any], *, out: Path | None) -> None:
    """Print how fast each side was, and where the files lie, if any."""
    from safescape.views import SPEED_COLUMNS, speed_rows  # loads the drawing libraries

    console = results()
    console.print(Text(f"{bench['machine']}"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in SPEED_COLUMNS:
        table.add_column(heading, justify="left" if heading == SPEED_COLUMNS[0] else "right")
    for row in speed_rows(bench):
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
    if out is not None:
        for file in ("bench.md", "bench.png", "bench.json"):
            console.print(Text(str(out / file)))


def show_check(check: Check, *, as_json: bool) -> None:
    """Print what a gate says, and a line for each threshold that fails; as JSON, those lines go to stderr."""
    from safescape.views.text import gate as words  # loads the drawing libraries, which `--help` need not wait for

    gate = check.gate
    failures = [words.failure_of(ruling, gate) for ruling in gate.failed]
    if as_json:
        print(gate.to_json(), end="")
        for line in failures:
            print(line, file=sys.stderr)
        return
    console = results()
    for line in (words.names_of(gate), *words.notes_of(gate)):
        console.print(Text(line))
    for found in (words.changes_of(gate), words.rulings_of(gate)):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in found.columns:
            table.add_column(heading, justify="left" if heading == found.columns[0] else "right")
        for row in found.rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print()
        console.print(table)
    console.print()
    for file in ("report.html", "check.json"):
        console.print(Text(str(check.run.directory / file)))
    for line in (words.headline_of(gate), *failures):
        console.print(Text(line))


def _with_interval(metric: Metric, unit: str, *, signed: bool = False) -> str:
    value, interval, _ = _cells(metric, unit)
    plus = "+" if signed and metric.value is not None and metric.value > 0 else ""
    return f"{plus}{value} ({interval})" if interval else value


def _cells(metric: Metric, unit: str) -> tuple[str, str, str]:
    if metric.value is None or metric.low is None or metric.high is None:
        return "not measured", "", ""

    def number(value: float) -> str:
        return f"{value:.1f} {unit}".strip() if abs(value) >= 1 or unit else f"{value:.3f}"

    value = f">= {number(metric.value)}" if metric.at_least else number(metric.value)
    return (
        value,
        f"{number(metric.low)} to {number(metric.high)}",
        " ".join("–" if v is None else number(v) for v in metric.per_line),
    )
