"""A section for the model card of a measured model: Markdown for people, `model-index` for the Hub.

Probes are named and counted, never quoted: it holds no prompt, no answer and no system prompt, and of a local path only
the last part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata

from huggingface_hub import EvalResult, ModelCardData

from safescape.errors import InputError
from safescape.landscape import Landscape, Metric, unit_of, unscored_in
from safescape.store import Store
from safescape.survey import KEYWORD, ComputedAxis, InterpolationAxis, Probe, PromptProbe, RandomAxis, Survey
from safescape.views import (
    KINDS,
    basin_said,
    figures_of,
    interval_text,
    limit_text,
    named,
    printable,
    subject_of,
    unscored_said,
    value_text,
    verdict_of,
)


def model_card(store: Store, landscape: Landscape) -> str:
    """Return a README.md: `model-index` as front matter, then a section that fits any model card.

    Raises:
        InputError: the origin is not measured, or the first judge has not read its answers: nothing can be said yet.

    """
    if landscape.origin_asr is None:
        raise InputError(
            f"{store.directory}: nothing is known of the model itself yet; repeat the command that began the run, or "
            "safescape judge it"
        )
    survey, landscape = store.survey, landscape.decided
    results = list(_results(survey, landscape))
    front = ModelCardData(model_name=_public(survey.model), tags=["safescape"], eval_results=results)
    return f"---\n{front.to_yaml()}\n---\n\n" + "\n".join(_section(survey, landscape)) + "\n"


def _results(survey: Survey, landscape: Landscape) -> Iterator[EvalResult]:
    """Yield the figures that were measured and mean something for this model."""
    prompts, metrics = survey.prompts, landscape.metrics
    found = [("asr", "ASR at the origin (%)", metrics["origin_asr"]), ("visage", "VISAGE", metrics["visage"])]
    if landscape.has_basin:
        unit = "the distance to the other model" if _is_path(landscape) else "the weights' own norm"
        to = "" if landscape.limit.kind == "absolute" else f" to an ASR of {limit_text(landscape.limit)}"
        found.append(("basin_radius", f"Basin radius |α|{to} (1 is {unit})", metrics["basin_radius"]))
    found.append(("safety_auc", "Safety AUC (%)", metrics["safety_auc"]))
    for kind, title, metric in found:
        if metric.value is not None:
            yield _result(kind, title, metric, prompts)
    if keyword := _by_keyword(landscape):
        yield _result("asr_keyword", "ASR at the origin by the paper's keyword judge (%)", keyword, prompts)
    for probe, kind, metric in _further(survey, landscape):
        unit = unit_of(kind).strip()
        title = f"{KINDS[kind].capitalize()} at the origin" + (f" ({unit})" if unit else "")
        yield _result(kind, title, metric, probe)


def _by_keyword(landscape: Landscape) -> Metric | None:
    """The ASR at the origin by the keyword judge, where the refusal judge contradicts it; else None."""
    keyword = landscape.by_judge.get(KEYWORD)
    return keyword["origin_asr"] if landscape.clashes and keyword is not None else None


def _further(survey: Survey, landscape: Landscape) -> Iterator[tuple[Probe, str, Metric]]:
    """Yield (probe, kind, figure) of everything else that was measured at the origin."""
    by_name = {probe.name: probe for probe in survey.probes}
    for name, metrics in landscape.by_probe.items():
        yield by_name[name], "asr", metrics["origin_asr"]
    for measure in landscape.measures:
        if measure.waypoint is None and not any(measure.coords):
            metric = Metric(value=measure.value, low=measure.low, high=measure.high, unscored=measure.unscored)
            yield by_name[measure.probe], measure.kind, metric


def _result(kind: str, title: str, metric: Metric, probe: Probe) -> EvalResult:
    source = probe.source.split(":")
    from_hub = source[0] == "hf" and len(source) > 1
    known = {
        "confidence": 0.95,
        "low": _rounded(metric.low),
        "high": _rounded(metric.high),
        "at_least": metric.at_least or None,
        "about": metric.about,
        "unscored": metric.unscored or None,
    }
    return EvalResult(
        task_type="text-generation",
        task_name="Safety under moved weights",
        dataset_type=source[1] if from_hub else re.sub(r"[^\w.-]+", "-", _source(probe)).strip("-") or "prompts",
        dataset_name=_source(probe),
        dataset_split=source[2] if from_hub and len(source) > 2 else None,
        metric_type=kind,
        metric_name=title,
        metric_value=_rounded(metric.value),
        metric_args={name: value for name, value in known.items() if value is not None},
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _section(survey: Survey, landscape: Landscape) -> Iterator[str]:
    asr, verdict = landscape.metrics["origin_asr"], verdict_of(landscape, "the model")
    yield "## Safety landscape"
    yield ""
    said = (
        f"{verdict.sentence} The model is {named(_public(survey.model))}; its ASR is "
        f"{value_text(asr, 1, ' %')} (95 % interval {interval_text(asr, 1, ' %')}), and up to "
        f"{landscape.safe_below:g} % counts as safe."
    )
    yield " ".join(filter(None, (said, verdict.clash, basin_said(landscape), unscored_said(landscape))))
    yield ""
    if not landscape.complete:
        yield "**The measurement is not finished; figures are of finished lines alone.**"
        yield ""
    yield "| figure | value | 95 % interval | what it is |"
    yield "|---|---:|---:|---|"
    for figure in figures_of(landscape):
        if figure.interval:
            about = f" ({figure.about})" if figure.about else ""
            yield f"| {figure.label} | {figure.value} | {figure.interval}{about} | {figure.meaning} |"
    if keyword := _by_keyword(landscape):
        cells = (value_text(keyword, 1, " %"), interval_text(keyword, 1))
        yield f"| ASR at the origin, keyword judge | {' | '.join(cells)} | The same by the paper's 29 phrases. |"
    for probe, kind, metric in _further(survey, landscape):
        unit = unit_of(kind)
        cells = (value_text(metric, 2, unit), interval_text(metric, 2, unit))
        yield f"| {KINDS[kind].capitalize()} at the origin | {' | '.join(cells)} | {named(_source(probe))} |"
    yield ""
    yield "| measured | |"
    yield "|---|---|"
    for name, value in _facts(survey, landscape):
        yield f"| {name} | {value} |"
    yield ""
    yield (
        "A model that refuses these requests may answer others, and an answer that a judge calls compliance may be "
        "noise: intervals cover the choice of requests and directions, not the judge."
    )


def _facts(survey: Survey, landscape: Landscape) -> Iterator[tuple[str, str]]:
    prompts = survey.prompts
    yield "weights", f"<code>{survey.model_fingerprint}</code>"
    yield "over", subject_of(landscape) + _span(landscape)
    for axis in landscape.axes:
        if isinstance(axis, InterpolationAxis):
            yield "other model, at α = 1", f"{named(_public(axis.toward))}, <code>{axis.fingerprint}</code>"
    yield "prompts", f"{len(prompts.prompts)} from {named(_source(prompts))}"
    system = "the chat template's own" if prompts.system_prompt is None else "none" if not prompts.system_prompt else ""
    yield "system prompt", system or "one of the measurer's own"
    yield "answers", f"up to {survey.max_new_tokens} tokens, decoded greedily, in {survey.dtype}"
    yield "judge of these figures", named(landscape.survey.judges[0])
    yield "safe up to", f"ASR {landscape.safe_below:g} %"
    if landscape.limit.kind != "absolute":
        yield "basin up to", f"ASR {limit_text(landscape.limit)}"
    yield "unscored", "{} of {} answers over all points".format(*unscored_in(landscape))
    yield "measured with", f"safescape {metadata.version('safescape')}"


def _span(landscape: Landscape) -> str:
    spans = [axis.span for axis in landscape.axes if isinstance(axis, RandomAxis | ComputedAxis)]
    return f", up to α = {max(spans):g}" if spans else ""


def _is_path(landscape: Landscape) -> bool:
    return isinstance(landscape.axes[0], InterpolationAxis)


def _source(probe: Probe) -> str:
    """The source of a probe's items for publication: of a file only its name."""
    if not isinstance(probe, PromptProbe) or not probe.source.startswith(("hf:", "builtin:")):
        return printable(re.split(r"[/\\]", probe.source)[-1]) or "a file"
    return printable(probe.source)


def _public(name: str) -> str:
    """The name of a model for publication: of a directory or a file only its last part."""
    parts = (part.rstrip("/\\") for part in name.split("+"))
    return printable("+".join(_last(part) if _is_on_disk(part) else part for part in parts)) or "model"


def _is_on_disk(part: str) -> bool:
    return part.startswith((".", "/", "~")) or "\\" in part or part.count("/") > 1 or part.lower().endswith(".gguf")


def _last(part: str) -> str:
    return re.split(r"[/\\]", part)[-1]
