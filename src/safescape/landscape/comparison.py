"""A comparison of runs: their figures side by side, and the differences from the first run, paired item by item."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import Field

from safescape.errors import InputError
from safescape.landscape.adaptive import first_lines, plan_of
from safescape.landscape.estimates import JudgedSubspace
from safescape.landscape.figures import landscape_of
from safescape.landscape.rates import Figure, differences, figure_of
from safescape.landscape.schema import SAFE_BELOW, Landscape, Metric, Record
from safescape.survey import HarnessProbe, MeasuredPoint, Probe, PromptProbe, Survey


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

    def to_json(self) -> str:
        """Return the text of comparison.json: the figures without the landscapes' points, which the runs have."""
        metrics = [landscape.model_dump(mode="json")["metrics"] for landscape in self.landscapes]
        document = {**self.model_dump(mode="json", by_alias=True, exclude={"landscapes"}), "metrics": metrics}
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def comparison_of(runs: Sequence[Compared], *, safe_below: float = SAFE_BELOW) -> Comparison:
    """Compare runs with the same probes, judges, decoding and axes.

    A bootstrap resample draws the same items in every run and, if the runs have the same number of lines, the same
    lines, so that variation which the runs share cancels in the differences.

    Args:
        runs: At least two.
        safe_below: The ASR, in percent, up to which a point counts as safe.

    Raises:
        InputError: there are fewer than two runs, or the runs did not ask the same; the message names what differs.

    """
    if len(runs) < 2:
        raise InputError(f"{len(runs)} run given; a comparison needs at least 2 run directories")
    first = runs[0]
    for run in runs[1:]:
        if differing := _comparable(first.survey).differences(_comparable(run.survey)):
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
        differences=tuple(differences(found, figures[0]) for found in figures),
    )


def _comparable(survey: Survey) -> Survey:
    """Return a survey with default values for everything that may differ between runs that are compared.

    That is which model is measured, by which engine and how precisely, in which random directions, and from which file
    the items came. The items themselves, the system prompts, the judges, the decoding, and the number, span and steps
    of the axes must agree.
    """
    axes = tuple(
        axis.model_copy(
            update={"seed": number}
            if axis.kind == "random"
            else {"toward": "", "fingerprint": "", "resized": ()}  # the other model, and what it added to the embedding
        )
        for number, axis in enumerate(survey.subspace.axes)
    )
    return survey.model_copy(
        update={
            "subspace": survey.subspace.model_copy(update={"axes": axes}),
            "probes": tuple(_without_source(probe) for probe in survey.probes),
            "model": "",
            "model_fingerprint": "",
            "through": (),
            "chat_template": None,
            "trust_remote_code": False,
            "engine": "transformers",
            "tensor_parallel": 1,
            "adapter": "merged",
            "dtype": "float32",
            "device": "cpu",
            "batch_size": 1,
            "whole_answers": False,
        }
    )


def _without_source(probe: Probe) -> Probe:
    # the definition of a task of lm-eval is compared by its hash
    folder = {"folder": None} if isinstance(probe, HarnessProbe) else {}
    return probe.model_copy(update={"source": "", **folder})


def _figures(run: Compared, safe_below: float) -> dict[str, Figure]:
    stored = {(entry.probe, entry.point): entry for entry in run.measured}
    plan = plan_of(run.survey, run.measured)
    survey = run.survey if run.survey.adaptive is None else first_lines(run.survey, plan.lines)
    first_probe = JudgedSubspace(survey, stored, survey.prompts, survey.judges[0], safe_below, plan.on_lines)
    return {**first_probe.figures(), **_at_origin(run)}


def _at_origin(run: Compared) -> dict[str, Figure]:
    """Return over-refusal, accuracy and perplexity at the origin, by probe."""
    probes, judge = {probe.name: probe for probe in run.survey.probes}, run.survey.judges[0]
    found = {}
    for entry in run.measured:
        probe = probes[entry.probe]
        is_attack = isinstance(probe, PromptProbe) and probe.harmful
        if entry.point.is_origin and not is_attack and (entry.scores or judge in entry.outcomes):
            found[probe.name] = figure_of(probe, entry.outcomes.get(judge, ()), entry.scores)
    return found
