"""Opening the engine that a survey names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from safescape.engines.context import check_context, longest_answer, with_longest_openings
from safescape.engines.greedy import Settings, check_in_vllm, check_with_thoughts
from safescape.engines.loading import load_config
from safescape.engines.speaker import check_tokens, head_of, tokens_of
from safescape.engines.transformers import TransformersEngine
from safescape.engines.vllm.engine import VllmEngine
from safescape.engines.vllm.launch import TokenCounts
from safescape.engines.vllm.lora import LoadedAdapters, why_merged
from safescape.errors import InputError
from safescape.survey import ChoiceProbe, HarnessProbe, InterpolationAxis, MarginProbe, PerplexityProbe, Survey
from safescape.weights import Model, Subspace, noise_device

_SCORED_LATER = 1024
"""Tokens of a harmless request with its answer, which the origin may have to score afterwards."""


def open_engine(
    survey: Survey,
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    chats: Mapping[str, Sequence[str]],
    generation: Settings | None = None,
    *,
    directions: Path | None = None,
) -> TransformersEngine | VllmEngine:
    """Load a survey's model into its engine, at the origin; `chats` has each probe's prompts in the chat template.

    `generation` is what the model's generation settings change of greedy decoding; None: what they say now.
    `directions` is the folder with the files of computed directions.

    Raises:
        InputError: The engine is not installed, or cannot load the model.

    """
    adapters = _adapters(survey, model)
    device, trusted = noise_device(survey.device), survey.trust_remote_code
    subspace = Subspace(
        survey.subspace,
        model.weights,
        survey.through,
        device,
        directions=directions,
        trust_remote_code=trusted,
    )
    settings: dict[str, Any] = {
        "dtype": getattr(torch, survey.dtype),
        "device": survey.device,
        "batch_size": survey.batch_size,
        "trust_remote_code": trusted,
        "generation": generation,
    }
    if survey.engine != "vllm":
        return TransformersEngine(model, tokenizer, subspace, **settings)
    counts = _token_counts(survey, tokenizer, chats)
    return VllmEngine(
        model, tokenizer, subspace, **settings, counts=counts, gpus=survey.tensor_parallel, adapters=adapters
    )


def check_length(
    survey: Survey, model: Model, tokenizer: PreTrainedTokenizerBase, chats: Mapping[str, Sequence[str]]
) -> None:
    """Check that the model can read what the survey asks, and that the engine decodes as the survey says.

    Raises:
        InputError: The model's context is too short, a token is beyond its embedding, its configuration cannot be
            loaded, or the engine does not apply a generation setting.

    """
    if survey.engine == "vllm":
        check_in_vllm(survey.generation)
    if survey.markers is not None:
        check_with_thoughts(survey.generation)
    config = load_config(model, trust_remote_code=survey.trust_remote_code).get_text_config()
    rows = [row for some in chats.values() for row in tokens_of(tokenizer, some, ())]
    if raw := _raw_texts(survey):
        rows += tokens_of(tokenizer, raw, head_of(tokenizer, raw=True))
    check_tokens(model.name, tokenizer, rows, config.vocab_size)
    most = getattr(config, "max_position_embeddings", None)
    if most is not None:
        check_context(survey, model.name, most, tokenizer, chats)


def check_vocabulary(model: Model, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> None:
    """Raise InputError if a chat has a token that the embedding lacks, or the configuration cannot be loaded."""
    config = load_config(model).get_text_config()
    check_tokens(model.name, tokenizer, tokens_of(tokenizer, texts, ()), config.vocab_size)


def _adapters(survey: Survey, model: Model) -> LoadedAdapters | None:
    if survey.adapter == "merged":
        return None
    trusted = survey.trust_remote_code
    why = why_merged(
        model,
        survey.subspace,
        survey.through,
        engine=survey.engine,
        dtype=survey.dtype,
        device=survey.device,
        trust_remote_code=trusted,
    )
    axis = survey.subspace.axes[0]
    if why is not None or not isinstance(axis, InterpolationAxis):
        raise InputError(f"the survey has its adapter unmerged: {why}")
    dtype = getattr(torch, survey.dtype)
    return LoadedAdapters(axis, survey.points_together, dtype, trust_remote_code=trusted)


def _token_counts(
    survey: Survey, tokenizer: PreTrainedTokenizerBase, chats: Mapping[str, Sequence[str]]
) -> TokenCounts:
    def longest(texts: Sequence[str], *, raw: bool) -> int:
        return max(map(len, tokens_of(tokenizer, texts, head_of(tokenizer, raw=raw))))

    answer = max(longest(some, raw=False) for some in chats.values()) + longest_answer(survey, tokenizer)
    texts = _raw_texts(survey)
    begun = [
        text
        for probe in survey.probes
        if isinstance(probe, MarginProbe)
        for text in with_longest_openings(probe, chats[probe.name])
    ]
    if any(isinstance(probe, HarnessProbe) for probe in survey.probes):
        # The texts of an lm-eval task are known only when it runs.
        request = None
    else:
        request = max(
            answer, longest(texts, raw=True) + 1 if texts else 0, longest(begun, raw=False) + 1 if begun else 0
        )
    answers = min(survey.batch_size, survey.points_together * max(map(len, chats.values())))
    return TokenCounts(request, request and max(request, _SCORED_LATER), answers * answer)


def _raw_texts(survey: Survey) -> list[str]:
    """Return the texts that are scored as they are, without those of lm-eval's tasks."""
    texts: list[str] = []
    for probe in survey.probes:
        if isinstance(probe, PerplexityProbe):
            texts += probe.texts
        elif isinstance(probe, ChoiceProbe):
            texts += [question.context + option for question in probe.questions for option in question.options]
    return texts
