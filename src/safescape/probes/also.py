"""Probes beside the harmful prompts, as `--also` names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safescape.errors import InputError
from safescape.probes.lm_eval import harness_probe
from safescape.probes.multiple_choice import load_questions
from safescape.probes.prompts import load_prompts
from safescape.probes.public_sets import parse_name
from safescape.probes.rows import is_file
from safescape.probes.set_files import set_paths
from safescape.survey import ChoiceProbe, HarnessProbe, PerplexityProbe, Probe, PromptProbe

_CAPABILITIES = "choice:TEST.csv[:DEV.csv], choice:mmlu:SUBJECT, perplexity:PROMPTS or lm-eval:TASK"


def further_probes(specs: Sequence[str], limit: int | None, system_prompt: str | None) -> list[Probe]:
    """Return one probe for each specification, in their order.

    Args:
        specs: `over-refusal:PROMPTS` (harmless prompts), `attack:PROMPTS` (prompts that carry an attack), or what
            `capability_probe` takes. PROMPTS is what `load_prompts` takes.
        limit: The number of items of each, from the first; None for all.
        system_prompt: The system prompt that the prompts among them are asked with.

    Raises:
        InputError: a specification is none of these, or two have the same name.

    """
    if limit is not None and limit < 1:
        raise InputError(f"--also-limit {limit}: expected at least 1 item")
    probes = [_probe(spec, limit, system_prompt) for spec in specs]
    names = [probe.name for probe in probes]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--also {name}: given twice; give each once")
    return probes


def capability_probe(
    spec: str, limit: int | None, *, flag: str = "--also"
) -> ChoiceProbe | PerplexityProbe | HarnessProbe:
    """Return the probe of a capability.

    Args:
        spec: `choice:TEST.csv` or `choice:TEST.csv:DEV.csv` (multiple choice in the MMLU layout), `choice:mmlu:SUBJECT`
            (five-shot), `perplexity:PROMPTS` (texts), or `lm-eval:TASK` (a task's name or its YAML file).
        limit: The number of items, from the first; None for all.
        flag: What the user gave it with, for the messages.

    Raises:
        InputError: the specification is none of these, or its data cannot be read.

    """
    kind, _, source = spec.partition(":")
    if kind == "choice" and source:
        test, shots = _test_and_shots(source, f"{flag} {spec}")
        questions = load_questions(test, shots, limit, flag=f"{flag} choice")
        return ChoiceProbe(name=spec, source=source, questions=questions)
    if kind == "perplexity" and source:
        texts = load_prompts(source, limit, flag=f"{flag} perplexity", purpose="text")
        return PerplexityProbe(name=spec, source=source, texts=texts)
    if kind == "lm-eval" and source:
        return harness_probe(spec, source, limit, flag=flag)
    also = "over-refusal:PROMPTS, attack:PROMPTS, " if flag == "--also" else ""
    raise InputError(f"{flag} {spec}: no such probe; expected {also}{_CAPABILITIES}")


def _probe(spec: str, limit: int | None, system_prompt: str | None) -> Probe:
    kind, _, source = spec.partition(":")
    if kind not in ("over-refusal", "attack") or not source:
        return capability_probe(spec, limit)
    is_attack = kind == "attack"
    prompts = load_prompts(source, limit, flag=f"--also {kind}", purpose="harmful" if is_attack else "harmless")
    return PromptProbe(name=spec, source=source, harmful=is_attack, system_prompt=system_prompt, prompts=prompts)


def _test_and_shots(source: str, given: str) -> tuple[Path, Path | None]:
    """Return the file of the questions, and the file of the solved ones if there is one."""
    if source.startswith("mmlu:"):
        named = parse_name(source)
        if named is None:
            raise InputError(f"{given}: MMLU has no such subject; expected mmlu:SUBJECT as in mmlu:abstract_algebra")
        test, shots = set_paths(named.data, given)
        return test, shots
    if is_file(source) or ":" not in source:
        return Path(source), None
    name, _, examples = source.rpartition(":")
    return Path(name), Path(examples)
