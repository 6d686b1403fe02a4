"""Agreement files that are given for a run: `--agreement FILE`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safescape.errors import InputError
from safescape.judges import immediate_judge
from safescape.landscape import JudgeError
from safescape.options import each_of
from safescape.store import Store, stored_survey
from safescape.survey import is_immediate


def read_agreements(files: str | Path | Sequence[str | Path], judges: Sequence[str]) -> list[JudgeError]:
    """Read agreement files of some judges, before anything is measured.

    Raises:
        InputError: a file is none, is of another judge or of another version of it, or two are of the same judge.

    """
    found: list[JudgeError] = []
    for file in each_of(files):
        given = f"--agreement {file}"
        error = JudgeError.load(Path(file), given)
        if error.judge not in judges:
            raise InputError(f"{given}: is of --judge {error.judge}; the judges here are {', '.join(judges)}")
        if error.judge in (other.judge for other in found):
            raise InputError(f"{given}: is a second one of --judge {error.judge}; give one a judge")
        if is_immediate(error.judge):
            _check(error, dict(immediate_judge(error.judge).made_of), given)
        found.append(error)
    return found


def store_agreements(store: Store, errors: Sequence[JudgeError]) -> None:
    """Store agreement files in a claimed run.

    Raises:
        InputError: a judge's verdicts there were made with something else.

    """
    judges = store.verdicts.judges()
    for error in errors:
        _check(error, judges.get(error.judge, {}), f"the agreement file of {error.judge}")
    store.labels.store_agreements([(error.judge, error.to_json()) for error in errors])


def accept_agreements(directory: Path, files: str | Path | Sequence[str | Path]) -> None:
    """Read agreement files and store them in a run.

    Raises:
        InputError: as for `read_agreements` and `store_agreements`, or it is not a run directory.
        RunError: another process is measuring in the run.

    """
    with Store.read(directory) as store:
        errors = read_agreements(files, list(store.verdicts.judges()))
    survey = stored_survey(directory)
    assert survey is not None
    with Store.claim(directory, survey) as store:
        store_agreements(store, errors)


def _check(error: JudgeError, made_of: dict[str, str], given: str) -> None:
    if error.made_of != made_of:
        differing = ", ".join(key for key in {**error.made_of, **made_of} if error.made_of.get(key) != made_of.get(key))
        raise InputError(
            f"{given}: was measured on verdicts made with another {differing}; measure it again with safescape agree"
        )
