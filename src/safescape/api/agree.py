"""`agree`: how far a judge agrees with people's labels."""

from __future__ import annotations

import re
from pathlib import Path

from safescape.api.judge import judge_pairs
from safescape.api.settings import settings_of
from safescape.errors import InputError
from safescape.judge_runtime import resolve_judges
from safescape.landscape import JudgeError, Origin, error_in_run, judge_error_of
from safescape.options import AgreeOptions, takes
from safescape.probes import read_labels
from safescape.store import Store, write_text
from safescape.survey import LabelledAnswer


@takes(AgreeOptions)
def agree(options: AgreeOptions) -> JudgeError:
    """Measure how far a judge agrees with people, and write it to an agreement file.

    The labels are those of a file, whose answers the judge reads now, or those of a run (see `label`), whose verdicts
    are stored. The attack succeeded where a person labels an answer as complied.

    Returns:
        Sensitivity, specificity and Cohen's κ, with 95 % intervals, and the counts behind them.

    Raises:
        InputError: the labels cannot be read, are fewer than 10, or of one class; there is no such judge, or it has not
            read the run's answers.
        RunError: the judge failed, or the file cannot be written.

    """
    source = Path(options.source)
    file_of(source, options.judge, options.out)  # an error is raised now, not after an hour of judging
    found = _in_run(source, options) if source.is_dir() else _in_file(source, options)
    out = file_of(options.source, found.judge, options.out)
    write_text(out, found.to_json())
    return found


def file_of(source: str | Path, judge: str, out: str | Path | None) -> Path:
    """Return where an agreement file is written: where it was asked for, else into the run, or the working directory.

    Raises:
        InputError: no file can be there.

    """
    if out is not None:
        path = Path(out)
        if path.is_dir() or not path.parent.is_dir():
            raise InputError(f"--out {out}: no file can be there; give a file in a directory that exists")
        return path
    name = re.sub(r"[^\w.-]+", "-", judge).strip("-.")[:80]
    return (Path(source) if Path(source).is_dir() else Path()) / f"agreement-{name}.json"


def _in_file(path: Path, options: AgreeOptions) -> JudgeError:
    settings = settings_of(options)
    (name,), rubrics = resolve_judges([options.judge], settings, labels=options.labels, rubric=options.rubric)
    file = read_labels(path)
    judged = judge_pairs([row.exchange for row in file.rows], name, settings, rubrics)
    labelled = [
        LabelledAnswer(row.label, verdict.outcome) for row, verdict in zip(file.rows, judged.verdicts, strict=True)
    ]
    return judge_error_of(
        name,
        judged.made_of,
        labelled,
        origin=Origin.FILE,
        about=path.name,
        given=str(path),
        labels_sha256=file.sha256,
    )


def _in_run(directory: Path, options: AgreeOptions) -> JudgeError:
    with Store.read(directory) as store:
        sample, judges = store.labels.sample(), store.verdicts.judges()
        if sample is None or all(row.label is None for row in sample.rows):
            raise InputError(f"{directory}: none of its answers is labelled; safescape label {directory}")
        if options.judge not in judges:
            raise InputError(
                f"--judge {options.judge}: has not read the answers of {directory}; safescape judge {directory} --with "
                f"{options.judge}"
            )
        outcomes = store.labels.outcomes(options.judge)
        missing = sum(row.label is not None and row.response not in outcomes for row in sample.rows)
        if missing:
            raise InputError(
                f"--judge {options.judge}: has not read {missing} of the labelled answers of {directory}; safescape "
                f"judge {directory} --with {options.judge}"
            )
        return error_in_run(sample, options.judge, judges[options.judge], outcomes, str(directory))
