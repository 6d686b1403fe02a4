"""Progress on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

if TYPE_CHECKING:
    from safescape.finetuning import Step
    from safescape.judge_runtime import JudgeProgress
    from safescape.measure import Progress


class _Display:
    """Bars by title, or lines where there is no terminal."""

    def __init__(self, bar: Bar) -> None:
        self._bar, self._tasks = bar, dict[str, TaskID]()
        self._start = time.monotonic()

    @property
    def seconds(self) -> str:
        """Time since the command began to show progress."""
        return f"{time.monotonic() - self._start:.0f} s"

    def advance(self, title: str, done: int, total: int | None, words: str, line: str = "") -> None:
        """Show how far the work of a title is: `words` beside its bar, or `line`, if any, on a line of its own."""
        if self._bar.disable:
            if line:
                self.note(line)
            return
        if title not in self._tasks:
            self._tasks[title] = self._bar.add_task(words, total=total)
        self._bar.update(self._tasks[title], completed=done, total=total, description=words)

    def note(self, line: str) -> None:
        """Print a line."""
        self._bar.console.print(Text(line), soft_wrap=True)

    def remark(self, line: str) -> None:
        """Print a line above a bar, whose own words are soon replaced; elsewhere they stay."""
        if not self._bar.disable:
            self.note(line)


@contextmanager
def _display() -> Iterator[_Display]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield _Display(bar)


@contextmanager
def show_progress() -> Iterator[Callable[[Progress], None]]:
    """Show how many points of a run are measured."""
    with _display() as display:
        display.advance("points", 0, None, "loading the model")
        is_scoring, remarks = False, set[str]()

        def advance(progress: Progress) -> None:
            nonlocal is_scoring
            if progress.note is not None and progress.note not in remarks:
                remarks.add(progress.note)
                display.remark(progress.note)
            stage = _stage(progress)
            line = f"{progress.finished}/{progress.total} points, {display.seconds}, {stage}"
            # of the points whose answers the origin scores, one line is enough
            is_said = is_scoring and progress.scored is not None
            display.advance("points", progress.finished, progress.total, stage, "" if is_said else line)
            is_scoring = progress.scored is not None

        yield advance


def _stage(progress: Progress) -> str:
    if progress.asks_again:
        return "one percent of the answers that ended as noise is asked again"
    if progress.scored is not None:
        return "the origin scores the answers"
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


@contextmanager
def show_judging() -> Iterator[Callable[[JudgeProgress], None]]:
    """Show how many answers each judge has read."""
    with _display() as display:

        def advance(progress: JudgeProgress) -> None:
            judge, what = progress.judge, progress.what
            if progress.note:
                display.note(f"{judge}: {progress.note}")
                return
            line = f"{judge}: {progress.done}/{progress.total} {what}"
            display.advance(f"{judge}, {what}", progress.done, progress.total, f"{judge}, {what}", line)

        yield advance


@contextmanager
def show_steps() -> Iterator[Callable[[Step], None]]:
    """Show how many steps of a training are done."""
    with _display() as display:

        def advance(step: Step) -> None:
            line = f"{step.done}/{step.total} steps, {display.seconds}, loss {step.loss:.3f}"
            display.advance("steps", step.done, step.total, f"loss {step.loss:.3f}", line)

        yield advance
