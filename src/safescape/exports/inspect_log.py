"""One point of a run as a log of Inspect AI: a sample per prompt, a score per judge.

The file is written by Inspect's own library, so its viewer and its data frames read it like any other log. inspect-ai
is optional, so this module is imported only where a log is written.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Literal

from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log,
)
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    Content,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.scorer import Score

from safescape.landscape import Landscape, reading_of
from safescape.store import Store, StoredAnswer
from safescape.survey import Finish, Outcome, Point, PromptProbe, Survey, Verdict, tells_noise
from safescape.views import printable

_ENDED: Mapping[Finish, Literal["stop", "max_tokens", "unknown"]] = {
    Finish.STOP: "stop",
    Finish.LENGTH: "max_tokens",
    Finish.SETTLED: "unknown",
    Finish.NOISE: "unknown",
    Finish.NO_PROMPT: "unknown",
}
"""Inspect's word for why an answer ended; it has none for an answer that was cut once the judge could tell."""


def write_inspect_log(store: Store, landscape: Landscape, point: Point, probe: PromptProbe, path: Path) -> None:
    """Write the answers to a probe at a measured point into an .eval file, with the verdicts of each judge.

    A judge that has not read every answer there gets scores, but no metrics.
    """
    write_eval_log(_log(store, landscape, point, probe), path)


def _log(store: Store, landscape: Landscape, point: Point, probe: PromptProbe) -> EvalLog:
    survey, answers = store.survey, store.points.answers(point, probe.name)
    judges = [judge for judge in store.verdicts.judges() if any(judge in stored.answer.verdicts for stored in answers)]
    task = f"{probe.name} at {_where(point)}"
    taken = store.points.timing(point)
    assert taken is not None
    begun, ended = taken.finished_at - timedelta(seconds=taken.seconds), taken.finished_at
    samples = [_sample(survey, probe, stored) for stored in answers]
    spec = EvalSpec(
        run_id=survey.digest[:22],
        task_id=hashlib.sha256(f"{survey.digest} {task}".encode()).hexdigest()[:22],
        created=begun.isoformat(timespec="milliseconds"),
        task=printable(task),
        dataset=EvalDataset(
            name=printable(probe.name),
            location=printable(probe.source),
            samples=len(samples),
            sample_ids=[sample.id for sample in samples],
            shuffled=False,
        ),
        model=printable(survey.model),
        model_generate_config=GenerateConfig(max_tokens=survey.max_new_tokens, temperature=0.0),
        config=EvalConfig(epochs=1),
        packages={"safescape": metadata.version("safescape")},
        metadata={
            "line": point.line,
            "coords": list(point.coords),
            "waypoint": point.waypoint,
            "effective": _effective(landscape, point),
            "model_fingerprint": survey.model_fingerprint,
            "survey_fingerprint": f"sha256:{survey.digest}",
            "harmful": probe.harmful,
        },
        tags=["safescape"],
    )
    results = EvalResults(
        total_samples=len(samples),
        completed_samples=len(samples),
        scores=[_score(probe, judge, answers) for judge in judges],
    )
    tokens = sum(stored.answer.response.tokens for stored in answers)
    stats = EvalStats(
        started_at=begun.isoformat(timespec="milliseconds"),
        completed_at=ended.isoformat(timespec="milliseconds"),
        model_usage={spec.model: ModelUsage(output_tokens=tokens, total_tokens=tokens)},
    )
    return EvalLog(status="success", eval=spec, results=results, stats=stats, samples=samples)


def _where(point: Point) -> str:
    if point.waypoint is not None:
        return f"checkpoint {point.waypoint}"
    if point.is_origin:
        return "the origin"
    place = ", ".join(f"{sign} = {coordinate:g}" for sign, coordinate in zip("αβ", point.coords, strict=False))
    return place if point.line is None else f"line {point.line}, {place}"


def _effective(landscape: Landscape, point: Point) -> list[float] | None:
    """Where the weights stood, as rounded."""
    places = (figures for figures in landscape.points if Point(figures.line, figures.coords, figures.waypoint) == point)
    return next((list(figures.effective) for figures in places), None)


def _sample(survey: Survey, probe: PromptProbe, stored: StoredAnswer) -> EvalSample:
    said = stored.answer.response
    asked: list[ChatMessage] = [ChatMessageUser(content=probe.prompts[stored.number], source="input")]
    if probe.system_prompt:
        asked.insert(0, ChatMessageSystem(content=probe.system_prompt, source="input"))
    content: str | list[Content] = said.text
    if said.thought is not None:
        content = [ContentReasoning(reasoning=said.thought.text), ContentText(text=said.text)]
    answer = ChatMessageAssistant(content=content, source="generate", model=printable(survey.model))
    return EvalSample(
        id=stored.number + 1,
        epoch=1,
        input=asked,
        target=(Outcome.REFUSED if probe.harmful else Outcome.COMPLIED).value,
        messages=[*asked, answer],
        output=ModelOutput(
            model=printable(survey.model),
            choices=[ChatCompletionChoice(message=answer, stop_reason=_ENDED[said.finish])],
            usage=ModelUsage(output_tokens=said.tokens, total_tokens=said.tokens),
        ),
        scores={judge: _scored(verdict, said.text) for judge, verdict in stored.answer.verdicts.items()},
        metadata={"probe": probe.name, "number": stored.number, "finish": said.finish.value},
    )


def _scored(verdict: Verdict, text: str) -> Score:
    known = {} if verdict.probability is None else {"probability": verdict.probability}
    return Score(value=verdict.outcome.value, answer=text, explanation=verdict.reason or None, metadata=known or None)


def _score(probe: PromptProbe, judge: str, answers: Sequence[StoredAnswer]) -> EvalScore:
    """The metrics of a judge: the rate in percent, its standard error and 95 % interval, the counts of outcomes."""
    read = [stored.answer.verdicts[judge].outcome for stored in answers if judge in stored.answer.verdicts]
    figures: dict[str, float] = {}
    if len(read) == len(answers):
        reading = reading_of(probe, read, ())
        rate = reading.value / 100.0
        # as Inspect's own stderr(): of the sample, with n - 1
        error = math.sqrt(rate * (1.0 - rate) / max(1, len(read) - 1))
        figures = {
            reading.kind: reading.value,
            "stderr": 100.0 * error,
            "low": reading.low,
            "high": reading.high,
            **{outcome.value: read.count(outcome) for outcome in Outcome if _can_say(judge, outcome)},
        }
    return EvalScore(
        name=judge,
        scorer=judge,
        scored_samples=len(read),
        unscored_samples=len(answers) - len(read),
        metrics={name: EvalMetric(name=name, value=value) for name, value in figures.items()},
    )


def _can_say(judge: str, outcome: Outcome) -> bool:
    return outcome is not Outcome.INCOHERENT or tells_noise(judge)
