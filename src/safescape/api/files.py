"""Files made from a run: pictures, figures for papers, tables, a section of a model card, an Inspect log."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from safescape import exports, views
from safescape.errors import InputError, RunError
from safescape.landscape import Landscape
from safescape.options import either
from safescape.store import Store
from safescape.survey import Plane, Point, PromptProbe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Place", "save_figures", "write_exports", "write_picture"]

_TABLES = (".csv", ".parquet")
_SUFFIXES = (*_TABLES, ".md", ".eval")


class Place(NamedTuple):
    """Which point a log of Inspect is of, as the user said it; nothing: the origin, the first probe."""

    at: tuple[float, ...] | None = None
    line: int | None = None
    waypoint: int | None = None
    probe: str | None = None


def save_figures(landscape: Landscape, paths: Sequence[Path], columns: int) -> None:
    """Draw a landscape for a paper into files; if one of them cannot be, none is written.

    Raises:
        InputError: a name ends otherwise than in .pdf, .svg or .png, there is no such directory, or the number of
            columns is not 1 or 2.
        RunError: a file cannot be written.

    """
    wide = views.columns_of(columns)
    for path in paths:
        _check_target(path, [f".{kind}" for kind in views.PAPER_FORMATS], "--figure")
    drawn = [views.paper_bytes(landscape, path.suffix.lower().lstrip("."), wide) for path in paths]
    with contextlib.ExitStack() as files:
        for path, content in zip(paths, drawn, strict=True):
            files.enter_context(_new_file(path)).write_bytes(content)


def write_exports(store: Store, landscape: Landscape, paths: Sequence[Path], what: str | None, place: Place) -> None:
    """Write what other tools read; if one of the files cannot be, none is written.

    Args:
        store: Of the run.
        landscape: Of the same run.
        paths: A suffix says what each is: a table (.csv, .parquet), a section of a model card (.md), a log of Inspect
            (.eval).
        what: Which table; None: points.
        place: Which point the log is of.

    Raises:
        InputError: no file is named; another suffix; no such directory, table, point or probe; something said of a file
            that is not among them; a library is missing.
        RunError: a file cannot be written.

    """
    _check_named(paths, what, place)
    table = next((known for known in exports.TABLES if known == what), exports.TABLES[0])
    suffixes = {path.suffix.lower() for path in paths}
    if ".parquet" in suffixes:
        exports.check_parquet()
    if ".eval" in suffixes:
        exports.check_inspect()
    point, probe = (_point(store, place), _probe(store, place)) if ".eval" in suffixes else (None, None)
    if point is not None and probe is not None and probe not in store.survey.asked_at(point):
        raise InputError(f"--probe {probe.name}: is asked at the models alone; leave --at and --line out")
    with contextlib.ExitStack() as files:
        for path in paths:
            partial, suffix = files.enter_context(_new_file(path)), path.suffix.lower()
            if suffix == ".md":
                partial.write_text(exports.model_card(store, landscape), encoding="utf-8")
            elif point is not None and probe is not None and suffix == ".eval":
                exports.write_inspect_log(store, landscape, point, probe, partial)
            else:
                write = exports.write_csv if suffix == ".csv" else exports.write_parquet
                write(exports.table_of(store, landscape, table), partial)


def _check_named(paths: Sequence[Path], what: str | None, place: Place) -> None:
    """Find out that every file can be written, and that all that is said concerns one of them."""
    if not paths:
        raise InputError(f"no file given; give one, as in --to points.csv; its suffix is {either(_SUFFIXES)}")
    for path in paths:
        _check_target(path, _SUFFIXES, "--to")
    if len({path.absolute() for path in paths}) < len(paths):
        raise InputError(f"--to {paths[0]}: a file is given twice; give each once")
    suffixes = {path.suffix.lower() for path in paths}
    if what is not None and what not in exports.TABLES:
        raise InputError(f"--what {what}: no such table; give {either(exports.TABLES)}")
    if what is not None and not suffixes & set(_TABLES):
        raise InputError(f"--what {what}: is for a table; give --to a file whose name ends in {either(_TABLES)}")
    if place != Place() and ".eval" not in suffixes:
        given = {**place._asdict(), "at": place.at and _typed(place.at)}
        flag = next(f"--{name} {value}" for name, value in given.items() if value is not None)
        raise InputError(
            f"{flag}: chooses the point of a log; tables hold all; give --to a file whose name ends in .eval"
        )


def _point(store: Store, place: Place) -> Point:
    """The point that is meant, which was measured."""
    survey, at = store.survey, place.at
    if place.waypoint is not None:
        if at is not None or place.line is not None:
            raise InputError(f"--waypoint {place.waypoint}: a checkpoint has its own place; leave --at and --line out")
        _check_number("--waypoint", place.waypoint, len(survey.through), "checkpoint")
        point = Point(None, (), place.waypoint)
    elif isinstance(survey.subspace, Plane):
        if place.line is not None:
            raise InputError(f"--line {place.line}: the run is a plane, which has none; leave it out")
        point = Point(None, _coords(at, 2))
    else:
        _check_number("--line", place.line or 0, len(survey.subspace.axes), "line")
        coords = _coords(at, 1)
        point = Point((place.line or 0) if any(coords) else None, coords)
    finished = store.points.finished()
    if point not in finished:
        raise InputError(f"{_said(place)}: nothing was measured there{_nearest(point, finished)}")
    return point


def _check_number(flag: str, number: int, there: int, noun: str) -> None:
    if not there:
        raise InputError(f"{flag} {number}: the run has no {noun}s; leave it out")
    if not 0 <= number < there:
        raise InputError(f"{flag} {number}: the run's {noun}s are numbered from 0 to {there - 1}; give one of those")


def _coords(at: tuple[float, ...] | None, axes: int) -> tuple[float, ...]:
    """Coordinates as the store has them: floats, and no -0."""
    if at is None:
        return (0.0,) * axes
    if len(at) != axes:
        example = "0.1" if axes == 1 else "0.1,0"
        kind = "a line" if axes == 1 else "a plane"
        raise InputError(
            f"--at {_typed(at)}: a point of {kind} has {axes} coordinate{'s' * (axes > 1)}; type --at {example}"
        )
    return tuple(float(coordinate) + 0.0 for coordinate in at)


def _nearest(point: Point, finished: Collection[Point]) -> str:
    """What to give instead."""
    alike = [other for other in finished if other.waypoint is None and other.line in (point.line, None)]
    if point.waypoint is not None or not alike:
        return " yet; repeat the command that began the run"
    nearest = min(alike, key=lambda other: (math.dist(other.coords, point.coords), other.coords))
    return f"; the nearest measured point is --at {_typed(nearest.coords)}"


def _probe(store: Store, place: Place) -> PromptProbe:
    probes = [probe for probe in store.survey.probes if isinstance(probe, PromptProbe)]
    found = next((probe for probe in probes if place.probe in (None, probe.name)), None)
    if found is None:
        names = ", ".join(probe.name for probe in probes)
        raise InputError(f"--probe {place.probe}: no such probe of prompts in the run; give one of {names}")
    return found


def _said(place: Place) -> str:
    if place.waypoint is not None:
        return f"--waypoint {place.waypoint}"
    line = "" if place.line is None else f" --line {place.line}"
    return f"--at {_typed(place.at or (0.0,))}{line}"


def _typed(coords: Sequence[float]) -> str:
    return ",".join(f"{coordinate:g}" for coordinate in coords)


def _check_target(path: Path, suffixes: Sequence[str], flag: str) -> None:
    """Find out that a file of one of these kinds can be written there.

    Raises:
        InputError: its name ends otherwise, or there is no such directory, or it cannot be written in.

    """
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{flag} {path}: expected a file whose name ends in {either(suffixes)}")
    if path.is_dir():
        raise InputError(f"{flag} {path}: is a directory; give the name of a file")
    if not path.parent.is_dir():
        raise InputError(f"{flag} {path}: there is no directory {path.parent}; make it, or give another one")
    try:
        # what a mode says does not hold for everyone and everywhere
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(f"{flag} {path}: cannot be written ({error.strerror}); give another directory") from error


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """Give a name to write under; the file is there under its own name when all of it is, or not at all.

    Raises:
        RunError: it cannot be written; a former version of the file stays.

    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror}); mend that and repeat the command") from error
    finally:
        partial.unlink(missing_ok=True)


def write_picture(path: Path, figure: Figure) -> None:
    """Write a picture, whole or not at all.

    Raises:
        RunError: it cannot be written; a former version of the file stays.

    """
    try:
        views.save_figure(figure, path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror}); free space and repeat") from error
