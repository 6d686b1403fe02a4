"""Files made of a run for others to read: figures for papers, tables, a model card's section, a log for Inspect."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from safescape import views
from safescape.errors import InputError, RunError
from safescape.landscape import Landscape

__all__ = ["check_target", "new_file", "save_figures"]


def save_figures(landscape: Landscape, paths: Sequence[Path], columns: int) -> None:
    """Draw a landscape for a paper into files; if one of them cannot be, none is written.

    Raises:
        InputError: a name ends otherwise than in .pdf, .svg or .png, there is no such directory, or the number of
            columns is not 1 or 2.
        RunError: a file cannot be written.

    """
    wide = views.columns_of(columns)
    for path in paths:
        check_target(path, [f".{kind}" for kind in views.PAPER_FORMATS], "--figure")
    drawn = [views.paper_bytes(landscape, path.suffix.lower().lstrip("."), wide) for path in paths]
    for path, content in zip(paths, drawn, strict=True):
        with new_file(path) as partial:
            partial.write_bytes(content)


def check_target(path: Path, suffixes: Sequence[str], flag: str) -> None:
    """Find out that a file of one of these kinds can be written there.

    Raises:
        InputError: its name ends otherwise, or there is no such directory, or it cannot be written in.

    """
    if path.suffix.lower() not in suffixes:
        *others, last = suffixes
        kinds = f"{', '.join(others)} or {last}" if others else last
        raise InputError(f"{flag} {path}: expected a file whose name ends in {kinds}")
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
def new_file(path: Path) -> Iterator[Path]:
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
