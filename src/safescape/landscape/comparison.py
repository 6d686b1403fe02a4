"""Several runs side by side: their figures, and the differences from the first one, paired item by item."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from safescape.errors import InputError
from safescape.landscape.adaptive import begun, plan_of
from safescape.landscape.bootstrap import Figure, difference
from safescape.landscape.estimates import Seen, judged_by
from safescape.landscape.figures import landscape_of
from safescape.landscape.rates import figure_of
from safescape.landscape.schema import SAFE_BELOW, Landscape, Metric, Record
from safescape.survey import MeasuredPoint, PromptProbe, Survey

__all__ = ["Compared", "Comparison", "comparison_of"]


class Compared(NamedTuple):
    """One run as it is stored."""

    name: str
    """What it is called in messages and pictures: its directory."""
    survey: Survey
    measured: Sequence[MeasuredPoint]


class Comparison(Record):
    """Runs that asked the same things of different models."""

    schema_version: Literal[1] = 1
    names: tuple[str, ...]
    models: tuple[str, ...]
    landscapes: tuple[Landscape, ...]
    at_origin: tuple[dict[str, Metric], ...]
    """Run by run, over-refusal, accuracy and perplexity at the origin, by probe."""
    differences: tuple[dict[str, Metric], ...]
    """Run by run, each figure less the first run's, with its paired 95 % interval; the first run's are 0."""

    def to_json(self) -> str:
        """The figures without the landscapes' points, which the runs have."""
        body = self.model_dump(mode="json", exclude={"landscapes"})
        metrics = [landscape.model_dump(mode="json")["metrics"] for landscape in self.landscapes]
        document = {"schema": body.pop("schema_version"), **body, "metrics": metrics}
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def comparison_of(runs: Sequence[Compared], *, safe_below: float = SAFE_BELOW) -> Comparison:
    """Compare runs that asked the same.

    The same items were asked everywhere, so a resample draws the same items in every run, and where the runs have as
    many lines, the same lines: what is common to them cancels in the difference.

    Args:
        runs: At least two.
        safe_below: The ASR, in percent, up to which a point counts as safe.

    Raises:
        InputError: fewer than two runs, or their questions, judges, decoding or axes differ; the message names how.

    """
    if len(runs) < 2:
        raise InputError(f"{len(runs)} run given; a comparison needs at least 2 run directories")
    first = runs[0]
    for run in runs[1:]:
        if differing := list(_differing(first.survey, run.survey)):
            raise InputError(
                f"{run.name}: did not ask what {first.name} asked ({'; '.join(differing[:3])}); "
                "scan both with the same flags"
            )
    figures = [_figures(run, safe_below) for run in runs]
    return Comparison(
        names=tuple(run.name for run in runs),
        models=tuple(run.survey.model for run in runs),
        landscapes=tuple(landscape_of(run.survey, run.measured, safe_below=safe_below) for run in runs),
        at_origin=tuple({name: figure.metric() for name, figure in _at_origin(run).items()} for run in runs),
        differences=tuple(difference(found, figures[0]) for found in figures),
    )


def _differing(a: Survey, b: Survey) -> Iterable[str]:
    """What keeps two surveys from being compared; models, seeds and engines do not."""

    def comparable(survey: Survey) -> Survey:
        """The survey with everything taken out that may differ."""
        axes = tuple(
            axis.model_copy(update={"seed": number} if axis.kind == "random" else {"toward": "", "fingerprint": ""})
            for number, axis in enumerate(survey.subspace.axes)
        )
        # where the axes of interpolations end depends on the models; how they are cut must agree
        return survey.model_copy(
            update={
                "subspace": survey.subspace.model_copy(update={"axes": axes}),
                "model": "",
                "model_fingerprint": "",
                "through": (),
                "chat_template": None,
                "trust_remote_code": False,
                "dtype": "float32",
                "device": "cpu",
                "batch_size": 1,
                "whole_answers": False,
            }
        )

    return comparable(a).differences(comparable(b))


def _figures(run: Compared, safe_below: float) -> dict[str, Figure]:
    stored = {(entry.probe, entry.point): entry for entry in run.measured}
    judge = run.survey.judges[0]
    plan = plan_of(run.survey, run.measured)
    survey = run.survey if run.survey.adaptive is None else begun(run.survey, plan.lines)
    seen = Seen(survey, judged_by(judge, stored), survey.prompts, judge, safe_below, plan.on_lines)
    return {**seen.figures(), **_at_origin(run)}


def _at_origin(run: Compared) -> dict[str, Figure]:
    """Over-refusal, accuracy and perplexity at the origin, by probe."""
    found = {}
    for entry in run.measured:
        probe = next(probe for probe in run.survey.probes if probe.name == entry.probe)
        if not entry.scores and run.survey.judges[0] not in entry.outcomes:
            continue
        if entry.point.is_origin and not (isinstance(probe, PromptProbe) and probe.harmful):
            found[probe.name] = figure_of(probe, entry.outcomes.get(run.survey.judges[0], ()), entry.scores)
    return found
