"""From a survey to a run: it is measured, its judges read the answers, and its files are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from safescape.api.agreements import store_agreements
from safescape.api.computed_axes import train
from safescape.api.report import report_of
from safescape.api.resumption import Begun, repeat
from safescape.api.run import Run
from safescape.errors import RunError
from safescape.judge_runtime import JudgeSettings, judge_stored, update_panels
from safescape.landscape import MAX_UNSCORED, SAFE_BELOW, JudgeError
from safescape.measure import Progress, check_prompts, find_model, measure, with_directions
from safescape.options import MeasureOptions, Option, Options, shared, takes
from safescape.placement import Placement, check_placement
from safescape.store import Store, check_survey
from safescape.survey import Survey, is_immediate
from safescape.weights import Model


class Measuring(MeasureOptions):
    """The arguments of every measuring function; commands have no flag for a callback."""

    on_progress: Callable[[Progress], None] | None = None
    """Called when the run begins and after every point."""


class _SurveyArguments(Options):
    """The arguments of `run_survey`."""

    survey: Annotated[Survey, Option(expected="a Survey, for example of Survey.load")] = Field(kw_only=False)
    """What to measure."""
    out: Annotated[str | Path | None, Option(default="runs/MODEL-HASH")] = None
    """Run directory."""
    safe_below: shared.SafeBelow = SAFE_BELOW
    max_unscored: shared.MaxUnscored = MAX_UNSCORED
    workers: int | None = None
    """Number of engines that measure side by side, as for `scan`."""
    ray: str | None = None
    """Address of an existing Ray cluster."""
    gpus_per_worker: shared.GpusPerWorker = None
    on_progress: Callable[[Progress], None] | None = None
    """Called when the run begins and after every point."""


@takes(_SurveyArguments)
def run_survey(options: _SurveyArguments) -> Run:
    """Measure a survey, or resume; `Survey.load` reads the survey.json of an earlier run.

    Returns:
        The run, complete.

    Raises:
        InputError: the model it names has changed, or cannot be used.
        RunError: the run could not be finished; called again, it resumes.

    """
    survey, placement = options.survey, Placement(options.workers, options.ray, options.gpus_per_worker)
    check_placement(placement, survey.device, survey.tensor_parallel)
    settings = JudgeSettings(device=survey.device, placement=placement)
    return execute(survey, find_model(survey), settings, options=options, begin=repeat)


def execute(
    survey: Survey,
    model: Model,
    settings: JudgeSettings,
    *,
    options: Measuring | _SurveyArguments,
    begin: Callable[[Survey, Model, Path | None], Begun],
    errors: Sequence[JudgeError] = (),
) -> Run:
    """Measure a survey whose model was found and checked, let its judges read the answers, and write its files."""
    survey, directory, note = begin(survey, model, None if options.out is None else Path(options.out))
    check_prompts(survey, model)
    on_progress = options.on_progress or (lambda _: None)
    check_survey(directory, survey)
    survey = with_directions(survey, model, directory, on_progress, train)
    with Store.claim(directory, survey) as store:
        measure(survey, model, store, on_progress, settings.placement, note)
        if not store.points.finished():
            raise _failure(store)
        later = [name for name in survey.judges if not is_immediate(name)]
        try:
            judge_stored(store, later, settings, rubrics=store.verdicts.rubrics())
            update_panels(store, later)
            store_agreements(store, errors)
        finally:
            # the answers are there to read, also when a judge fails
            run = report_of(store, options.safe_below, options.max_unscored)
        if store.points.failures():
            raise _failure(store)
        return run


def _failure(store: Store) -> RunError:
    """The error of points that could not be measured."""
    failures = store.points.failures()
    point, reason = next(iter(failures.items()))
    total = len(failures) + len(store.points.finished())
    where = "(" + ", ".join(f"{coordinate:g}" for coordinate in point.coords) + ")"
    place = where if point.line is None else f"line {point.line + 1}, {where}"
    if point.waypoint is not None:
        place = f"checkpoint {point.waypoint + 1}"
    return RunError(
        f"{store.directory}: {len(failures)} of {total} points could not be measured, {place} among them: {reason}; "
        "the others are stored and reported, and the same command tries these again"
    )
