"""`label`: a sample of a run's answers for a person to label, and the labels as a file."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import NamedTuple

from safescape.errors import InputError
from safescape.landscape import Candidate, draw_sample, strata_of
from safescape.options import LabelOptions, takes
from safescape.store import ShownAnswer, Store, stored_survey, write_text
from safescape.survey import REFUSAL, Sample

_COLUMNS = ("prompt", "response", "label")


class Labelling(NamedTuple):
    """A run's sample with the labels so far."""

    directory: Path
    sample: Sample
    answers: dict[int, ShownAnswer]
    """The sampled answers with their prompts, by the answer's id."""

    @property
    def labelled(self) -> int:
        """Answers that have a label."""
        return sum(row.label is not None for row in self.sample.rows)


@takes(LabelOptions)
def label(options: LabelOptions) -> Labelling:
    """Draw a random sample of a run's answers for a person to label, or continue one; or export the labels.

    The sample is stratified by the outcomes of a judge, near the origin and far from it; the sizes of the strata are
    stored with it. Labels are stored in the run.

    Returns:
        The sample, in the order in which answers are shown, with the labels so far.

    Raises:
        InputError: it is not a run directory, the judge has not read its answers, or the sample was drawn otherwise.
        RunError: the run is being measured, or a file cannot be written.

    """
    directory = Path(options.directory)
    if options.export is not None:
        with Store.read(directory) as store:
            found = _labelling(store)
        if not found.labelled:
            raise InputError(f"{directory}: none of its answers is labelled; safescape label {directory}")
        _export(found, Path(options.export))
        return found
    with claimed(directory) as store:
        store.labels.store_sample(_drawn(store, options))
        return _labelling(store)


def claimed(directory: Path) -> Store:
    """Open a run for writing labels.

    Raises:
        InputError: it is not a run directory.
        RunError: another process is measuring in it.

    """
    survey = stored_survey(directory)
    if survey is None or not (directory / "run.sqlite").is_file():
        raise InputError(f"{directory}: no run.sqlite in it; give the directory that --out named")
    return Store.claim(directory, survey)


def _labelling(store: Store) -> Labelling:
    sample = store.labels.sample()
    if sample is None:
        raise InputError(f"{store.directory}: none of its answers is labelled; safescape label {store.directory}")
    return Labelling(store.directory, sample, store.labels.shown())


def _drawn(store: Store, options: LabelOptions) -> Sample:
    """Return the run's sample, new or continued."""
    earlier, judges = store.labels.sample(), store.verdicts.judges()
    default = REFUSAL if REFUSAL in judges else next(iter(judges), store.survey.judges[0])
    judge = options.judge or (default if earlier is None else earlier.judge)
    seed = options.seed if options.seed is not None else 0 if earlier is None else earlier.seed
    made_of = json.dumps(judges.get(judge, {}), sort_keys=True)
    if earlier is not None:
        if (earlier.judge, earlier.seed) != (judge, seed):
            raise InputError(
                f"{store.directory}: its sample was drawn with --judge {earlier.judge} --seed {earlier.seed}; leave "
                "out these flags to continue it"
            )
        if options.n <= len(earlier.rows):
            return earlier
        if earlier.made_of != made_of:
            raise InputError(
                f"{store.directory}: {judge} has judged again since the sample was drawn, so that it cannot grow; give "
                f"--n {len(earlier.rows)}"
            )
    candidates = [Candidate(*answer) for answer in store.labels.judged(judge)]
    if not candidates:
        raise InputError(
            f"--judge {judge}: has not read the answers of {store.directory}; safescape judge {store.directory} --with "
            f"{judge}"
        )
    rows = draw_sample(strata_of(candidates), options.n, seed, () if earlier is None else earlier.rows)
    return Sample(judge, made_of, seed, rows)


def _export(found: Labelling, path: Path) -> None:
    """Write the labels as CSV or as JSON Lines: prompt, response, label."""
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise InputError(f"--export {path}: expected a file named .csv or .jsonl")
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"--export {path}: no file can be there; give a file in a directory that exists")
    rows = [(*found.answers[row.response], row.label.value) for row in found.sample.rows if row.label is not None]
    if path.suffix.lower() == ".jsonl":
        lines = (json.dumps(dict(zip(_COLUMNS, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)
        write_text(path, "".join(lines))
        return
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *rows])
    write_text(path, text.getvalue())
