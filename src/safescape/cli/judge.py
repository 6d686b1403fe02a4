"""`safescape judge`: the stored answers of a run, judged again or by others."""

from __future__ import annotations

import safescape
from safescape.cli.command import AsJson, Given, with_options
from safescape.cli.output import show_run
from safescape.cli.progress import show_judging
from safescape.options import JudgeRunOptions


@with_options(JudgeRunOptions)
def judge(given: Given, as_json: AsJson = False) -> None:
    """Example: safescape judge runs/demo --with refusal --with my_judges:Cautious --panel majority

    Judge the answers stored in RUN, and write its figures, picture and page anew. Nothing is generated, and no answer
    is read twice by the same judge unless --again is given; interrupted, the same command resumes.
    """
    with show_judging() as on_progress:
        run = safescape.judge_run(**given, on_progress=on_progress)
    show_run(run, as_json=as_json)
