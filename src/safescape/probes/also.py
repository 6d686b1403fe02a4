"""Probes beside the harmful prompts, as `--also` names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safescape.errors import InputError
from safescape.probes.lm_eval import harness_probe
from safescape.probes.multiple_choice import load_questions
from safescape.probes.prompts import load_prompts
from safescape.survey import ChoiceProbe, PerplexityProbe, Probe, PromptProbe

__all__ = ["further_probes"]

_FORMS = "over-refusal:PROMPTS, attack:PROMPTS, choice:TEST.csv[:DEV.csv], perplexity:PROMPTS or lm-eval:TASK"


def further_probes(specs: Sequence[str], limit: int | None, system_prompt: str | None) -> list[Probe]:
    """Return one probe for each of the specifications, in their order.

    Args:
        specs: `over-refusal:PROMPTS` (harmless prompts), `attack:PROMPTS` (prompts that carry an attack),
            `choice:TEST.csv` or `choice:TEST.csv:DEV.csv` (multiple choice in the MMLU layout), `perplexity:PROMPTS`
            (texts), `lm-eval:TASK` (a task's name or its YAML file). PROMPTS is what `load_prompts` takes.
        limit: How many items of each, from the first; None for all.
        system_prompt: For the prompts among them.

    Raises:
        InputError: a specification is none of these, or two have the same name.

    """
    probes = [_probe(spec, limit, system_prompt) for spec in specs]
    names = [probe.name for probe in probes]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--also {name}: given twice; give each once")
    return probes


def _probe(spec: str, limit: int | None, system_prompt: str | None) -> Probe:
    kind, _, source = spec.partition(":")
    if limit is not None and limit < 1:
        raise InputError(f"--also-limit {limit}: expected at least 1 item")
    if kind in ("over-refusal", "attack") and source:
        prompts = load_prompts(source, limit, flag=f"--also {kind}")
        return PromptProbe(
            name=spec, source=source, harmful=kind == "attack", system_prompt=system_prompt, prompts=prompts
        )
    if kind == "choice" and source:
        test, shots = _files(source)
        return ChoiceProbe(name=spec, source=source, questions=load_questions(test, shots, limit))
    if kind == "perplexity" and source:
        return PerplexityProbe(name=spec, source=source, texts=load_prompts(source, limit, flag="--also perplexity"))
    if kind == "lm-eval" and source:
        return harness_probe(spec, source, limit)
    raise InputError(f"--also {spec}: no such probe; expected {_FORMS}")


def _files(source: str) -> tuple[Path, Path | None]:
    """A test file, or a test file and the file with its solved questions."""
    if Path(source).is_file() or ":" not in source:
        return Path(source), None
    test, _, shots = source.rpartition(":")
    return Path(test), Path(shots)
