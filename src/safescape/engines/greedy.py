"""What a model's generation_config.json changes of greedy decoding, applied by transformers' own processors.

Settings of sampling (temperature, top_p) change nothing, since the most likely token is taken, and are left aside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pydantic import JsonValue
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StopStringCriteria,
)

from safescape.engines.decoding import VisibleBatch
from safescape.engines.loading import load_config, load_generation_config
from safescape.errors import InputError, first_line
from safescape.weights import Model

Settings = Mapping[str, JsonValue]
"""Fields of a `GenerationConfig` by name, as JSON."""

_NEUTRAL: dict[str, tuple[object, ...]] = {
    "repetition_penalty": (None, 1.0),
    "encoder_repetition_penalty": (None, 1.0),
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "sequence_bias": (None,),
    "bad_words_ids": (None,),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "exponential_decay_length_penalty": (None,),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "remove_invalid_values": (None, False),
    "stop_strings": (None, [], ""),
}
"""Settings that are applied, and the values with which they change nothing."""
_OTHER_DECODING: dict[str, tuple[object, ...]] = {
    "num_beams": (None, 1),
    "penalty_alpha": (None, 0, 0.0),
    "guidance_scale": (None, 1, 1.0),
    "dola_layers": (None,),
    "watermarking_config": (None,),
    "token_healing": (None, False),
    "constraints": (None,),
    "force_words_ids": (None,),
}
"""Settings with which `generate` does something else than greedy decoding, and the values with which it does not."""
_IN_VLLM = ("repetition_penalty", "eos_token_id")
"""Settings that vLLM applies as transformers does."""

_FROM_THE_PROMPT = (
    "encoder_repetition_penalty",
    "encoder_no_repeat_ngram_size",
    "min_new_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "exponential_decay_length_penalty",
    "begin_suppress_tokens",
)
"""Settings that tell a prompt from what was written after it. A thought is a prompt to the answer that follows it."""


def greedy_settings(name: str, config: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> dict[str, JsonValue]:
    """Return what a generation configuration changes of greedy decoding.

    Args:
        name: Of the model, for messages.
        config: Its generation configuration.
        tokenizer: Whose end-of-text token ends an answer; `eos_token_id` is returned if it holds other ones.

    Raises:
        InputError: the configuration asks for another kind of decoding.

    """
    given = config.to_dict()
    for setting, neutral in _OTHER_DECODING.items():
        if given.get(setting) not in neutral:
            raise InputError(
                f"{name}: its generation_config.json sets {setting} to {str(given[setting])[:40]}, and answers are "
                "decoded greedily; remove it from a copy of the model, and give that"
            )
    ends = given.get("eos_token_id")
    if not all(type(token) is int for token in (ends if isinstance(ends, list) else [ends]) if token is not None):
        raise InputError(
            f"{name}: its generation_config.json sets eos_token_id to {str(ends)[:40]}; expected the number of a "
            "token, or a list of them"
        )
    found = {setting: given[setting] for setting, neutral in _NEUTRAL.items() if given.get(setting) not in neutral}
    return {**found, **_further_ends(config, tokenizer)}


def generation_of(
    model: Model, tokenizer: PreTrainedTokenizerBase, *, trust_remote_code: bool = False
) -> dict[str, JsonValue]:
    """Return what a model's own files change of greedy decoding; see `greedy_settings`."""
    config = load_config(model, trust_remote_code=trust_remote_code)
    return greedy_settings(model.name, load_generation_config(model, config), tokenizer)


def ends_in_files(
    model: Model, tokenizer: PreTrainedTokenizerBase, *, trust_remote_code: bool = False
) -> dict[str, JsonValue]:
    """Return the end tokens of a model's files alone: all that earlier versions read of its generation settings."""
    config = load_generation_config(model, load_config(model, trust_remote_code=trust_remote_code))
    return _further_ends(config, tokenizer)


def _further_ends(config: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> dict[str, JsonValue]:
    """Return the end tokens of a configuration if it has others than the tokenizer's."""
    ends = end_tokens(tokenizer, config)
    return {} if ends == end_tokens(tokenizer, None) else {"eos_token_id": [*sorted(ends)]}


def ends_of(settings: Settings, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the tokens that end an answer under settings that `greedy_settings` returned."""
    ends: Any = settings.get("eos_token_id")
    return end_tokens(tokenizer, GenerationConfig(eos_token_id=ends))


def check_in_vllm(settings: Settings) -> None:
    """Raise InputError if vLLM cannot apply one of the settings exactly."""
    for setting in settings:
        if setting not in _IN_VLLM:
            raise InputError(
                f"--engine vllm: does not apply {setting} of the model's generation_config.json as transformers does; "
                "leave --engine out"
            )


def check_with_thoughts(settings: Settings) -> None:
    """Raise InputError if one of the settings would be applied to thought and answer apart."""
    for setting in settings:
        if setting in _FROM_THE_PROMPT:
            raise InputError(
                f"{setting} of the model's generation_config.json cannot be applied to a thought and its answer "
                "together; remove it from a copy of the model, and give that"
            )


def end_tokens(tokenizer: PreTrainedTokenizerBase, config: GenerationConfig | None) -> frozenset[int]:
    """Return the tokens that end an answer."""
    configured = config.eos_token_id if config is not None else None
    ends = configured if isinstance(configured, list) else [configured]
    # a negative number stands for none
    return frozenset(token for token in (*ends, tokenizer.eos_token_id) if token is not None and token >= 0)


class GreedyRules:
    """Settings in effect for one model.

    Args:
        model: Its `generate` chooses the processors.
        tokenizer: Ends answers with its end-of-text token, beside those of the settings.
        settings: As `greedy_settings` returns them.

    Raises:
        InputError: transformers cannot use one of the settings.

    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: Settings) -> None:
        self._model, self._settings = model, {k: v for k, v in settings.items() if k != "stop_strings"}
        self.ends = ends_of(settings, tokenizer)
        strings = settings.get("stop_strings")
        self._stop = None if not strings else StopStringCriteria(tokenizer, strings)  # type: ignore[arg-type]
        try:
            self.processors([0], 1)
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise InputError(
                f"generation_config.json: transformers cannot use its settings ({first_line(error)}); mend it in a "
                "copy of the model, and give that"
            ) from error
        self.changes_tokens = bool(self._settings.keys() - {"eos_token_id"})
        """Whether a token can be another one than the most likely."""

    def is_ended(self, prompt: Sequence[int], answer: Sequence[int]) -> bool:
        """Return whether an answer's newest token completes a stop string."""
        return self._stop is not None and bool(self._stop(torch.tensor([[*prompt, *answer]]), torch.empty(0)))

    def processors(self, prompt: Sequence[int], max_new_tokens: int) -> LogitsProcessorList:
        """Return the processors that `generate` would use for a prompt on its own."""
        config = GenerationConfig(**{"eos_token_id": sorted(self.ends), **self._settings, "do_sample": False})
        config.max_length = len(prompt) + max_new_tokens
        if config.min_new_tokens is not None:
            config.min_length = len(prompt) + config.min_new_tokens
        model: Any = self._model
        model._prepare_special_tokens(config, device=model.device)
        ids = torch.tensor([list(prompt)], device=model.device)
        found: LogitsProcessorList = model._get_logits_processor(
            config, input_ids_seq_length=len(prompt), encoder_input_ids=ids, device=model.device
        )
        return found

    def ruled(self, batch: VisibleBatch, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> RuledBatch:
        """Return a batch whose tokens are taken by the rules; see `decoding.decode`."""
        return RuledBatch(batch, prompts, [self.processors(prompt, max_new_tokens) for prompt in prompts])


class RuledBatch:
    """A batch whose logits are processed before a token is taken, each row by itself as if it were alone."""

    def __init__(
        self, batch: VisibleBatch, prompts: Sequence[Sequence[int]], processors: Sequence[Callable[..., Any]]
    ) -> None:
        self._batch = batch
        self._rows = [(list(prompt), process) for prompt, process in zip(prompts, processors, strict=True)]

    def next_tokens(self) -> list[int]:
        """Return the most likely next token of each remaining row, after its processors."""
        logits = self._batch.logits.float()
        return [
            int(process(torch.tensor([ids], device=logits.device), row[None].clone()).argmax())
            for (ids, process), row in zip(self._rows, logits, strict=True)
        ]

    def step(self, staying: Sequence[int], tokens: Sequence[int]) -> None:
        """Continue with some of the remaining rows; see `decoding.Batch`."""
        self._rows = [self._rows[place] for place in staying]
        for (ids, _), token in zip(self._rows, tokens, strict=True):
            ids.append(token)
        self._batch.step(staying, tokens)
