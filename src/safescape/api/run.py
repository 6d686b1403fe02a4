"""A run directory in Python: its landscape, answers and figures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from safescape import exports, views
from safescape.errors import InputError
from safescape.landscape import MAX_UNSCORED, SAFE_BELOW, Landscape, PointFigures
from safescape.store import Store, StoredAnswer
from safescape.stored_landscape import stored_landscape
from safescape.survey import Point, Survey

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
        """Return the model's answers at a point, in the order of the prompts; empty where nothing was measured.

        Args:
            coords: α on a line, or (α, β) on a plane.
            line: Number of the line, from 0; ignored on a plane.
            probe: Name of the probe; by default the first one.

        """
        # as they are stored: floats, without -0
        where = tuple(float(each) + 0.0 for each in (coords if isinstance(coords, Sequence) else (coords,)))
        point = Point(line if len(where) == 1 and any(where) else None, where)
        return self._store.points.answers(point, probe or self.survey.prompts.name)

    def figure(self, ax: Axes | None = None, *, columns: int | None = None) -> Figure:
        """Draw the landscape.

        Args:
            ax: Axes that the ASR is drawn into, in the style for papers; the rest of their figure is not changed.
            columns: Width of a new figure for a paper, 1 column (3.3 inches) or 2 (6.9 inches), as `save_figure`
                writes it; without it and `ax`, the run directory's picture is drawn.

        Raises:
            InputError: `columns` is not 1 or 2, or is given together with `ax`, or `ax` belongs to no figure.

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
            return views.draw_for_paper(self.landscape, columns)
        return views.draw(self.landscape)

    def save_figure(self, path: str | Path, *, columns: int = 1) -> None:
        """Write the landscape as a figure for a paper: fonts embedded, byte-identical each time.

        Args:
            path: A file; its suffix sets the format: .pdf, .svg or .png (300 dots per inch).
            columns: Width: 1 column (3.3 inches) or 2 (6.9 inches).

        Raises:
            InputError: another suffix, a directory that does not exist or is read-only, another number of columns.
            RunError: the file cannot be written.

        """
        exports.save_figures(self.landscape, [Path(path)], columns)

    def export(
        self,
        *to: str | Path,
        what: str | None = None,
        at: float | Sequence[float] | None = None,
        line: int | None = None,
        waypoint: int | None = None,
        probe: str | None = None,
    ) -> None:
        """Write files for other tools; all of them, or none. The arguments are those of `safescape.export`.

        Raises:
            InputError: no file is given, or one cannot be written as asked; no such table, point or probe; pyarrow
                (.parquet) or inspect-ai (.eval) is not installed.
            RunError: a file cannot be written.

        """
        coords = None if at is None else tuple(at) if isinstance(at, Sequence) else (at,)
        paths, place = [Path(path) for path in to], exports.Place(coords, line, waypoint, probe)
        exports.write_exports(self._store, self.landscape, paths, what, place)

    def _repr_html_(self) -> str:
        return views.notebook_of(self.landscape, self.directory)

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r}, model={self.survey.model!r}, points={len(self.points)})"


def load_run(directory: str | Path, *, safe_below: float = SAFE_BELOW, max_unscored: float = MAX_UNSCORED) -> Run:
    """Read a run directory, finished or not; nothing is written.

    Args:
        directory: The run directory.
        safe_below: ASR in percent up to which a point counts as safe.
        max_unscored: Share of unscored answers, in percent, above which a rate decides nothing.

    Raises:
        InputError: it is not a run directory, or nothing was measured in it yet.

    """
    with Store.read(Path(directory)) as store:
        return run_of(store, safe_below, max_unscored)


def run_of(store: Store, safe_below: float, max_unscored: float) -> Run:
    """Return the run of an open store; see `load_run`."""
    landscape = stored_landscape(store, safe_below=safe_below, max_unscored=max_unscored)
    if landscape is None:
        raise InputError(f"{store.directory}: no point was measured in it yet; repeat the command that began it")
    return Run(store.directory, store.survey, landscape)
