"""Runs: measured, resumed, read, and their files written anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from safescape import views
from safescape.api.export import Place, save_figures, write_exports
from safescape.errors import InputError, RunError
from safescape.judge_runtime import JudgeSettings, judge_stored, update_panels
from safescape.landscape import SAFE_BELOW, Landscape, PointFigures, landscape_of
from safescape.measure import Progress, check_prompts, find_model, measure
from safescape.placement import LOCAL, Placement, check_placement
from safescape.store import Store, StoredAnswer, write_text
from safescape.survey import Point, Survey, is_immediate
from safescape.weights import Model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Run", "execute", "export", "load_run", "report", "report_of", "run_survey", "write_picture"]


class Run:
    """A run directory that holds one survey's results."""

    def __init__(self, directory: Path, survey: Survey, landscape: Landscape) -> None:
        self.directory = directory
        self.survey = survey
        self.landscape = landscape

    @property
    def points(self) -> tuple[PointFigures, ...]:
        """The figures of every measured point."""
        return self.landscape.points

    @cached_property
    def _store(self) -> Store:
        return Store.read(self.directory)

    def answers(
        self, coords: float | Sequence[float] = 0.0, line: int = 0, *, probe: str | None = None
    ) -> list[StoredAnswer]:
        """Return what the model said at a point, in the order of the prompts; empty where nothing was measured.

        Args:
            coords: α on a line, or (α, β) on a plane.
            line: Which line; a plane has none.
            probe: By name; the first one by default.

        """
        where = tuple(coords) if isinstance(coords, Sequence) else (coords,)
        point = Point(line if len(where) == 1 and any(where) else None, where)
        return self._store.points.answers(point, probe or self.survey.prompts.name)

    def figure(self, ax: Axes | None = None, *, columns: int | None = None) -> Figure:
        """Draw the landscape.

        Args:
            ax: Draw the ASR into these axes of yours, as in a paper; nothing else of your figure changes.
            columns: Draw it for a paper, as wide as 1 column (3.3 inches) or 2 (6.9 inches); `save_figure` writes such
                a figure into a file with its fonts.

        Returns:
            The figure of `ax`, or a new one on its own canvas: with `columns` one for a paper, else the picture that a
            run directory holds.

        Raises:
            InputError: `columns` is not 1 or 2, or `ax` is given too, or `ax` belongs to no figure.

        """
        if ax is not None:
            if columns is not None:
                raise InputError("figure(ax=…, columns=…): your axes are as wide as they are; give one of the two")
            figure = ax.get_figure(root=True)
            if figure is None:
                raise InputError("figure(ax=…): these axes were taken out of their figure; give others")
            views.draw_into(ax, self.landscape)
            return figure
        if columns is not None:
            return views.draw_for_paper(self.landscape, views.columns_of(columns))
        return views.draw(self.landscape)

    def save_figure(self, path: str | Path, *, columns: int = 1) -> None:
        """Write the landscape as a figure for a paper: fonts embedded, the same bytes each time.

        Args:
            path: A file; its suffix says the format: .pdf, .svg or .png (300 dots an inch).
            columns: It is as wide as 1 column (3.3 inches) or 2 (6.9 inches).

        Raises:
            InputError: another suffix, a directory that is not there or cannot be written, another number of columns.
            RunError: the file cannot be written.

        """
        save_figures(self.landscape, [Path(path)], columns)

    def export(
        self,
        *to: str | Path,
        what: str | None = None,
        at: float | Sequence[float] | None = None,
        line: int | None = None,
        waypoint: int | None = None,
        probe: str | None = None,
    ) -> None:
        """Write files that other tools read; all of them, or none.

        Args:
            to: Files; a suffix says what each is: .csv or .parquet, a table; .md, a section of a model card with its
                `model-index`; .eval, a log of Inspect.
            what: Of a table: points (the default), responses or verdicts.
            at: Of a log: α on a line, or (α, β) on a plane, of the point; by default the origin.
            line: Of a log: which line, from 0; by default the first.
            waypoint: Of a log: which checkpoint, from 0, instead.
            probe: Of a log: which probe of prompts, by name; by default the first.

        Raises:
            InputError: no file, or one that cannot be as asked; no such table, point or probe; pyarrow (.parquet) or
                inspect-ai (.eval) is not installed.
            RunError: a file cannot be written.

        """
        coords = None if at is None else tuple(at) if isinstance(at, Sequence) else (at,)
        paths, place = [Path(path) for path in to], Place(coords, line, waypoint, probe)
        write_exports(self._store, self.landscape, paths, what, place)

    def _repr_html_(self) -> str:
        return views.notebook_of(self.landscape, self.directory)

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r}, model={self.survey.model!r}, points={len(self.points)})"


def run_survey(
    survey: Survey,
    *,
    out: str | Path | None = None,
    safe_below: float = SAFE_BELOW,
    on_progress: Callable[[Progress], None] | None = None,
    workers: int | None = None,
    ray: str | None = None,
    gpus_per_worker: float | None = None,
) -> Run:
    """Measure what a survey says, or resume; `Survey.load` reads the survey.json of an earlier run.

    Args:
        survey: What is measured.
        out: The run directory; by default `runs/MODEL-HASH`.
        safe_below: The ASR, in percent, up to which a point counts as safe.
        on_progress: Told after every point.
        workers: As for `scan`, and so on.
        ray: A Ray to measure on.
        gpus_per_worker: Of each worker.

    Raises:
        InputError: the model it names is not the one it was written for, or cannot be used.
        RunError: the run could not go on; called again, it resumes.

    """
    placement = Placement(workers, ray, gpus_per_worker)
    check_placement(placement, survey.device, survey.tensor_parallel)
    model = find_model(survey)
    return execute(survey, model, out=out, safe_below=safe_below, on_progress=on_progress, placement=placement)


def execute(
    survey: Survey,
    model: Model,
    *,
    out: str | Path | None,
    safe_below: float,
    on_progress: Callable[[Progress], None] | None,
    judge_settings: JudgeSettings | None = None,
    placement: Placement = LOCAL,
) -> Run:
    """Measure what a survey says, with the model that it names already found and looked through.

    Raises:
        InputError: something given cannot be used.
        RunError: the run could not go on, or points could not be measured; called again, it resumes.

    """
    if not 0 <= safe_below < 100:
        raise InputError(f"--safe-below {safe_below}: expected a percentage from 0 to below 100")
    judge_settings = judge_settings or JudgeSettings(device=survey.device, placement=placement)
    check_prompts(survey, model)
    directory = Path(out) if out is not None else Path("runs") / _name(survey)
    with Store.claim(directory, survey) as store:
        measure(survey, model, store, on_progress or (lambda _: None), placement)
        if not store.points.finished():
            raise _missing(store)
        later = [name for name in survey.judges if not is_immediate(name)]
        try:
            judge_stored(store, later, judge_settings, rubrics=store.verdicts.rubrics())
            update_panels(store, later)
        finally:
            # also when a judge could not go on: what was generated is there to read
            run = report_of(store, safe_below)
        if store.points.failures():
            raise _missing(store)
        return run


def _missing(store: Store) -> RunError:
    """What could not be measured, in one line."""
    failures = store.points.failures()
    point, reason = next(iter(failures.items()))
    total = len(failures) + len(store.points.finished())
    where = "(" + ", ".join(f"{coordinate:g}" for coordinate in point.coords) + ")"
    place = where if point.line is None else f"line {point.line + 1}, {where}"
    place = f"checkpoint {point.waypoint + 1}" if point.waypoint is not None else place
    return RunError(
        f"{store.directory}: {len(failures)} of {total} points could not be measured, {place} among them: {reason}; "
        "the others are stored and reported, and the same command tries these again"
    )


def report(
    directory: str | Path,
    *,
    safe_below: float = SAFE_BELOW,
    figures: Sequence[str | Path] = (),
    columns: int = 1,
) -> Run:
    """Compute a run's figures again from what is stored and write landscape.json, landscape.png and report.html.

    Args:
        directory: A run directory.
        safe_below: The ASR, in percent, up to which a point counts as safe.
        figures: Files that the landscape is drawn into for a paper, as `Run.save_figure` does; first of all, so that
            nothing is written where one of them cannot be.
        columns: How wide those are: 1 or 2 columns.

    Raises:
        InputError: it is not a run directory, or nothing was measured in it yet; a figure cannot be as asked.
        RunError: the directory cannot be written.

    """
    with Store.read(Path(directory)) as store:
        if figures:
            save_figures(_load(store, safe_below).landscape, [Path(path) for path in figures], columns)
        return report_of(store, safe_below)


def export(
    directory: str | Path,
    to: str | Path | Sequence[str | Path],
    *,
    what: str | None = None,
    at: float | Sequence[float] | None = None,
    line: int | None = None,
    waypoint: int | None = None,
    probe: str | None = None,
    safe_below: float = SAFE_BELOW,
) -> Run:
    """Write files that other tools read, of what a run directory holds; nothing in it changes.

    Args:
        directory: A run directory, finished or not.
        to: A file, or several; all of them are written, or none.
        what: As for `Run.export`, and so on.
        at: Of the point of a log.
        line: Of that point.
        waypoint: The same for a checkpoint.
        probe: By name.
        safe_below: The ASR, in percent, up to which a point counts as safe.

    Raises:
        InputError: it is not a run directory, or nothing was measured in it yet; as for `Run.export`.
        RunError: a file cannot be written.

    """
    run = load_run(directory, safe_below=safe_below)
    files = [to] if isinstance(to, (str, Path)) else to
    run.export(*files, what=what, at=at, line=line, waypoint=waypoint, probe=probe)
    return run


def load_run(directory: str | Path, *, safe_below: float = SAFE_BELOW) -> Run:
    """Read a run directory, finished or not; nothing is written.

    Raises:
        InputError: it is not a run directory, or nothing was measured in it yet.

    """
    with Store.read(Path(directory)) as store:
        return _load(store, safe_below)


def _load(store: Store, safe_below: float) -> Run:
    measured = list(store.points.measured())
    if not measured:
        raise InputError(f"{store.directory}: no point was measured in it yet; repeat the command that began it")
    return Run(store.directory, store.survey, landscape_of(store.survey, measured, safe_below=safe_below))


def report_of(store: Store, safe_below: float) -> Run:
    """Write a run's files from what is stored.

    Raises:
        InputError: nothing was measured yet.
        RunError: the directory cannot be written.

    """
    run = _load(store, safe_below)
    write_text(run.directory / "landscape.json", run.landscape.to_json())
    write_text(run.directory / "report.html", views.render_page(store, run.landscape))
    write_picture(run.directory / "landscape.png", run.figure())
    return run


def write_picture(path: Path, figure: Figure) -> None:
    """Write a picture, whole or not at all.

    Raises:
        RunError: it cannot be written; a former version of the file stays.

    """
    try:
        views.save_figure(figure, path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror}); free space and repeat") from error


def _name(survey: Survey) -> str:
    model = re.sub(r"[^\w.-]+", "-", survey.model).strip("-.")[-60:] or "model"
    return f"{model}-{survey.digest[:8]}"
