"""Files written from a run: figures for papers, tables, a section of a model card, an Inspect log; all, or none."""

from __future__ import annotations

import contextlib
import importlib
import math
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from safescape import views
from safescape.errors import InputError, either
from safescape.exports.model_card import model_card
from safescape.exports.tables import TABLES, table_of, write_csv, write_parquet
from safescape.landscape import Landscape
from safescape.store import Store, new_file
from safescape.survey import Plane, Point, PromptProbe

_TABLES = (".csv", ".parquet")
_SUFFIXES = (*_TABLES, ".md", ".eval")
_NEEDS = {".parquet": ("pyarrow", "export", ".csv"), ".eval": ("inspect_ai.log", "inspect", ".parquet")}
"""By format: the module that writes it, the extra that installs it, and a format that needs less."""


class Place(NamedTuple):
    """The point and the probe of an Inspect log, as the user gave them; by default the origin and the first probe."""

    at: tuple[float, ...] | None = None
    line: int | None = None
    waypoint: int | None = None
    probe: str | None = None


def save_figures(landscape: Landscape, paths: Sequence[Path], columns: int) -> None:
    """Draw a landscape for a paper into files; if one of them cannot be written, none is.

    Raises:
        InputError: a name ends otherwise than in .pdf, .svg or .png, there is no such directory, or the number of
            columns is not 1 or 2.
        RunError: a file cannot be written.

    """
    for path in paths:
        _check_target(path, [f".{kind}" for kind in views.PAPER_FORMATS], "--figure")
    drawn = [views.paper_bytes(landscape, path.suffix.lower().lstrip("."), columns) for path in paths]
    with contextlib.ExitStack() as files:
        for path, content in zip(paths, drawn, strict=True):
            files.enter_context(new_file(path)).write_bytes(content)


def write_exports(store: Store, landscape: Landscape, paths: Sequence[Path], what: str | None, place: Place) -> None:
    """Write files for other tools; if one of them cannot be written, none is.

    Args:
        store: The store of the run.
        landscape: The figures of the run.
        paths: The suffix of each sets its format: a table (.csv, .parquet), a section of a model card (.md), an Inspect
            log (.eval).
        what: Name of the table; None: points.
        place: Point and probe of the log.

    Raises:
        InputError: no file is given; another suffix; no such directory, table, point or probe; an option of a format
            that is not among the files; a library is missing.
        RunError: a file cannot be written.

    """
    _check_named(paths, what, place)
    suffixes = {path.suffix.lower() for path in paths}
    for suffix in _NEEDS.keys() & suffixes:
        _check_library(suffix)
    table = next((known for known in TABLES if known == what), TABLES[0])
    writers: dict[str, Callable[[Path], object]] = {
        ".csv": lambda path: write_csv(table_of(store, landscape, table), path),
        ".parquet": lambda path: write_parquet(table_of(store, landscape, table), path),
        ".md": lambda path: path.write_text(model_card(store, landscape), encoding="utf-8"),
    }
    if ".eval" in suffixes:
        point, probe = _point(store, place), _probe(store, place)
        if probe not in store.survey.asked_at(point):
            raise InputError(f"--probe {probe.name}: is asked at the models alone; leave --at and --line out")
        # only here: inspect-ai is optional
        from safescape.exports.inspect_log import write_inspect_log

        writers[".eval"] = lambda path: write_inspect_log(store, landscape, point, probe, path)
    with contextlib.ExitStack() as files:
        for path in paths:
            writers[path.suffix.lower()](files.enter_context(new_file(path)))


def _check_library(suffix: str) -> None:
    module, extra, other = _NEEDS[suffix]
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f"--to …{suffix}: {error.name} is not installed; type pip install 'safescape[{extra}]', or give a "
            f"{other} file"
        ) from error


def _check_named(paths: Sequence[Path], what: str | None, place: Place) -> None:
    """Check that every file can be written, and that every option is used by one of them."""
    if not paths:
        raise InputError(f"no file given; give one, as in --to points.csv; its suffix is {either(_SUFFIXES)}")
    for path in paths:
        _check_target(path, _SUFFIXES, "--to")
        if sum(other.absolute() == path.absolute() for other in paths) > 1:
            raise InputError(f"--to {path}: a file is given twice; give each once")
    suffixes = {path.suffix.lower() for path in paths}
    if what is not None and what not in TABLES:
        raise InputError(f"--what {what}: no such table; give {either(TABLES)}")
    if what is not None and not suffixes & set(_TABLES):
        raise InputError(f"--what {what}: is for a table; give --to a file whose name ends in {either(_TABLES)}")
    if place != Place() and ".eval" not in suffixes:
        given = {**place._asdict(), "at": place.at and _typed(place.at)}
        flag = next(f"--{name} {value}" for name, value in given.items() if value is not None)
        raise InputError(
            f"{flag}: chooses the point of a log; tables hold all; give --to a file whose name ends in .eval"
        )


def _point(store: Store, place: Place) -> Point:
    """Return the point of the log; it must be measured."""
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
    """Return coordinates as they are stored: floats, without -0."""
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
    """Return the end of the error message: the nearest measured point."""
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
    """Check that a path ends in one of the suffixes and that its directory can be written to."""
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{flag} {path}: expected a file whose name ends in {either(suffixes)}")
    if path.is_dir():
        raise InputError(f"{flag} {path}: is a directory; give the name of a file")
    if not path.parent.is_dir():
        raise InputError(f"{flag} {path}: there is no directory {path.parent}; make it, or give another one")
    try:
        # a permission bit does not hold for root, nor on every file system
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(f"{flag} {path}: cannot be written ({error.strerror}); give another directory") from error
