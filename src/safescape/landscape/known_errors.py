"""Which measured error of each judge holds for a run.

In this order: an agreement file that was given for the run, the labels in the run, the agreement that safescape ships
for its refusal judge. One that was measured on verdicts made with something else, such as an earlier version of the
judge, is not used.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from safescape.errors import InputError
from safescape.landscape.judge_error import JudgeError, Origin, judge_error_of
from safescape.landscape.label_sample import sampled_strata
from safescape.survey import REFUSAL, LabelledAnswer, Outcome, Sample

SHIPPED = Path(__file__).parents[1] / "data" / "refusal-agreement.json"
"""The agreement of the refusal judge, measured on models that were left out of its training; written by `python
examples/refusal_judge/agreement.py`."""

_log = logging.getLogger(__name__)


def known_errors(
    judges: Mapping[str, Mapping[str, str]],
    given: Mapping[str, str],
    sample: Sample | None,
    outcomes: Callable[[str], Mapping[int, Outcome]],
) -> dict[str, JudgeError]:
    """Return the measured error of each judge of a run, where there is one.

    Args:
        judges: The judges that have read the run's answers, and what their verdicts were made with.
        given: The texts of agreement files that were given for the run, by judge.
        sample: The sample of the run's answers with people's labels; None if none was drawn.
        outcomes: A judge's outcome on every sampled answer that it has read, by the answer's id.

    """
    found = {}
    for judge, made_of in judges.items():
        if judge in given:
            error = JudgeError.parse(given[judge], f"the agreement of {judge} in the run")
            if error.made_of == made_of:
                found[judge] = error
                continue
            _log.info("%s has judged again since its agreement file was given, which is not used", judge)
        if sample is not None and any(row.label is not None for row in sample.rows):
            try:
                found[judge] = error_in_run(sample, judge, made_of, outcomes(judge), "the labels of the run")
                continue
            except InputError as problem:
                _log.info("%s is not measured on the labels of the run: %s", judge, problem)
        if judge == REFUSAL and (shipped := _shipped()) is not None and shipped.made_of == made_of:
            found[judge] = shipped
    return found


def error_in_run(
    sample: Sample, judge: str, made_of: Mapping[str, str], outcomes: Mapping[int, Outcome], given: str
) -> JudgeError:
    """Return a judge's error as the labels of a run show it; see `judge_error_of`.

    Raises:
        InputError: there are too few labels, or of one class alone.

    """
    is_its_own = sample.judge == judge and json.loads(sample.made_of) == made_of
    labelled = [
        LabelledAnswer(row.label, outcomes[row.response], row.stratum)
        for row in sample.rows
        if row.label is not None and row.response in outcomes
    ]
    return judge_error_of(
        judge,
        made_of,
        labelled,
        origin=Origin.RUN,
        about="this run",
        given=given,
        strata=sampled_strata(sample.rows, says_known=is_its_own),
    )


@cache
def _shipped() -> JudgeError | None:
    return JudgeError.load(SHIPPED, str(SHIPPED)) if SHIPPED.is_file() else None
