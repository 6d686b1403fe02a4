"""A comparison of runs: their figures side by side, and the differences from the first run, paired item by item."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import Field

from safescape.errors import InputError
from safescape.landscape.adaptive import first_lines, plan_of
from safescape.landscape.estimates import JudgedSubspace
from safescape.landscape.figure import Figure, differences
from safescape.landscape.figures import landscape_of
from safescape.landscape.rates import Stored, figure_of
from safescape.landscape.schema import MAX_UNSCORED, SAFE_BELOW, Landscape, Metric, Record, Threshold
from safescape.landscape.threshold import threshold_of
from safescape.survey import (
    REFUSAL,
    Axis,
    HarnessProbe,
    InterpolationAxis,
    MeasuredPoint,
    Point,
    Probe,
    PromptProbe,
    RandomAxis,
    Survey,
)

ITSELF = Metric(value=0.0, low=0.0, high=0.0)
"""The difference of a figure from itself."""


class Compared(NamedTuple):
    """A stored run."""

    name: str
    """Its name in messages and figures: the directory."""
    survey: Survey
    measured: Sequence[MeasuredPoint]


class Comparison(Record):
    """Runs of different models with the same probes."""

    schema_version: Literal[1] = Field(default=1, validation_alias="schema", serialization_alias="schema")
    names: tuple[str, ...]
    models: tuple[str, ...]
    landscapes: tuple[Landscape, ...]
    at_origin: tuple[dict[str, Metric], ...]
    """Per run, over-refusal, accuracy and perplexity at the origin, by probe."""
    differences: tuple[dict[str, Metric], ...]
    """Per run, the difference of each figure from the first run's, with its paired 95 % interval; 0 for the first."""
    by_refusal: Comparison | None = Field(default=None, exclude_if=lambda seen: seen is None)
    """If the keyword judge is the first and the refusal judge contradicts it in a run: the same comparison with the
    refusal judge as the first in every run."""

    @property
    def decided(self) -> Comparison:
        """The comparison by the judge that it goes by: the first one, or the refusal judge where they clash."""
        return self.by_refusal or self

    def to_json(self) -> str:
        """Return the text of comparison.json: the figures without the landscapes' points, which the runs have."""
        return json.dumps(self._document(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def _document(self) -> dict[str, object]:
        landscapes = [landscape.model_dump(mode="json") for landscape in self.landscapes]
        metrics = [landscape["metrics"] for landscape in landscapes]
        thresholds = [landscape.get("threshold") for landscape in landscapes]
        document = self.model_dump(mode="json", by_alias=True, exclude={"landscapes", "by_refusal"})
        seen = {} if self.by_refusal is None else {"by_refusal": self.by_refusal._document()}
        return {**document, "metrics": metrics, "thresholds": thresholds, **seen}


def comparison_of(
    runs: Sequence[Compared], *, safe_below: float = SAFE_BELOW, max_unscored: float = MAX_UNSCORED
) -> Comparison:
    """Compare runs with the same probes, judges, decoding and axes.

    Radii are comparable only against one threshold. So all runs that have a basin are held against the highest of
    their own thresholds, which is `safe_below` if every origin is at most that.

    Items are paired and, if the runs have the same number of lines, so are lines: what the runs share cancels in the
    differences.

    Args:
        runs: At least two.
        safe_below: The ASR, in percent, up to which a point counts as safe.
        max_unscored: The share of unscored answers, in percent, above which a rate decides nothing.

    Where the refusal judge contradicts the keyword judge about one of the models, all runs are compared by it, too.

    Raises:
        InputError: there are fewer than two runs, or the runs did not ask the same; the message names what differs.
            Or the refusal judge, by which one run has to be compared, has not read another.

    """
    if len(runs) < 2:
        raise InputError(f"{len(runs)} run given; a comparison needs at least 2 run directories")
    first = runs[0]
    for run in runs[1:]:
        if differing := comparable(first.survey).differences(comparable(run.survey)):
            raise InputError(
                f"{run.name}: did not ask what {first.name} asked ({'; '.join(differing[:3])}); "
                "scan both with the same flags, or show directions of one model with safescape directions"
            )
    found = _compared(runs, safe_below, max_unscored)
    clashing = [run.name for run, seen in zip(runs, found.landscapes, strict=True) if seen.by_refusal is not None]
    if not clashing:
        return found
    for run in runs:
        if not all(entry.scores or REFUSAL in entry.outcomes for entry in run.measured):
            raise InputError(
                f"{run.name}: the refusal judge has not read every answer, and {clashing[0]} has to be compared by it, "
                f"because it contradicts the keyword judge there; safescape judge {run.name} --with {REFUSAL}"
            )
    return found.model_copy(update={"by_refusal": _compared(runs, safe_below, max_unscored, REFUSAL)})


def _compared(runs: Sequence[Compared], safe_below: float, max_unscored: float, by: str | None = None) -> Comparison:
    """Compare runs by a judge; None: by the first one of their surveys."""
    judged = [_Judged.of(run, by or run.survey.judges[0], safe_below) for run in runs]
    own = [each.threshold.value for each in judged if each.threshold.has_basin is not False]
    shared = max(own) if len(set(own)) > 1 else None
    figures = [each.figures(run, shared) for each, run in zip(judged, runs, strict=True)]
    at_origin = [_at_origin(run, each.judge) for each, run in zip(judged, runs, strict=True)]
    return Comparison(
        names=tuple(run.name for run in runs),
        models=tuple(run.survey.model for run in runs),
        landscapes=tuple(
            landscape_of(
                run.survey, run.measured, safe_below=safe_below, max_unscored=max_unscored, by=by, shared=shared
            )
            for run in runs
        ),
        at_origin=tuple({name: figure.metric() for name, figure in found.items()} for found in at_origin),
        differences=({name: ITSELF for name in figures[0]}, *(differences(found, figures[0]) for found in figures[1:])),
    )


def comparable(survey: Survey) -> Survey:
    """Return a survey with default values for everything that may differ between runs that are compared.

    That is which model is measured, by which engine and how precisely, in which random directions, from which file the
    items came, and what each model's own files make of them: chat template, chats and generation settings. The items
    themselves, the system prompts, the judges, the number of new tokens, and the number, span and steps of the axes
    must agree.
    """
    asked = survey.without_chats()
    axes = tuple(_comparable_axis(axis, number) for number, axis in enumerate(asked.subspace.axes))
    return asked.model_copy(
        update={
            "subspace": survey.subspace.model_copy(update={"axes": axes}),
            "probes": tuple(_without_source(probe) for probe in asked.probes),
            "model": "",
            "model_fingerprint": "",
            "through": (),
            "chat_template": None,
            "chat_template_name": None,
            "template_vars": {},
            "template_of": None,
            "trust_remote_code": False,
            "engine": "transformers",
            "tensor_parallel": 1,
            "adapter": "merged",
            "dtype": "float32",
            "device": "cpu",
            "batch_size": 1,
            "whole_answers": False,
            "noise": None,
        }
    )


def _comparable_axis(axis: Axis, number: int) -> Axis:
    """Return an axis without its seed, or without the other model and what that added to the embedding.

    A computed direction has the recipe that was asked for, and no longer the tensors that it gave.
    """
    if isinstance(axis, RandomAxis):
        return axis.model_copy(update={"seed": number})
    if isinstance(axis, InterpolationAxis):
        return axis.model_copy(update={"toward": "", "fingerprint": "", "resized": ()})
    return axis


def _without_source(probe: Probe) -> Probe:
    # the definition of a task of lm-eval is compared by its hash
    folder = {"folder": None} if isinstance(probe, HarnessProbe) else {}
    return probe.model_copy(update={"source": "", **folder})


class _Judged(NamedTuple):
    """A run as one judge sees it."""

    judge: str
    survey: Survey
    """Reduced to the lines that have started."""
    stored: Stored
    on_lines: Sequence[Sequence[Point] | None] | None
    threshold: Threshold
    """Its own."""

    @classmethod
    def of(cls, run: Compared, judge: str, safe_below: float) -> _Judged:
        stored = {(entry.probe, entry.point): entry for entry in run.measured}
        plan = plan_of(run.survey, run.measured)
        survey = run.survey if run.survey.adaptive is None else first_lines(run.survey, plan.lines)
        threshold = threshold_of(survey, stored, survey.prompts, judge, safe_below, plan.on_lines)
        return cls(judge, survey, stored, plan.on_lines, threshold)

    def figures(self, run: Compared, shared: float | None) -> dict[str, Figure]:
        """Return the figures of the first probe, and those at the origin of the others."""
        held = self.threshold.value if shared is None or self.threshold.has_basin is False else shared
        first = JudgedSubspace.of(self.survey, self.stored, self.survey.prompts, self.judge, held, self.on_lines)
        return {**first.figures(), **_at_origin(run, self.judge)}


def _at_origin(run: Compared, judge: str) -> dict[str, Figure]:
    """Return over-refusal, accuracy and perplexity at the origin, by probe."""
    probes = {probe.name: probe for probe in run.survey.probes}
    found = {}
    for entry in run.measured:
        probe = probes[entry.probe]
        is_attack = isinstance(probe, PromptProbe) and probe.harmful
        if entry.point.is_origin and not is_attack and (entry.scores or judge in entry.outcomes):
            found[probe.name] = figure_of(probe, entry.outcomes.get(judge, ()), entry.scores)
    return found
