"""`repair`: bring a finetune back into the safety of its base, no farther than needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError

from safescape import views
from safescape.api.settings import device_of
from safescape.engines import TransformersEngine, check_vocabulary, generation_of
from safescape.errors import InputError, RunError, first_line
from safescape.finetuning import Evaluation, Search, conversations_of, search
from safescape.finetuning.directory import sha256_of
from safescape.finetuning.evaluations import EvaluationLog, Evaluator, RepairRequest, scored_answers
from safescape.landscape import is_above, prompts_to_decide, wilson
from safescape.measure import tokenizer_of_model
from safescape.options import RepairOptions, each_of, takes
from safescape.probes import capability_probe, format_chats, load_set, template_variables, thinking_of
from safescape.probes import system_prompt as system_prompt_text
from safescape.store import write_text
from safescape.survey import Point, PromptProbe
from safescape.weights import (
    Adapted,
    BlockSpace,
    Model,
    inspect,
    resized_embeddings,
    resolve,
    save_blend,
    save_rescaled,
)


class Repaired(NamedTuple):
    """What a repair found, and where it is saved."""

    directory: Path | None
    """The repaired model; None where no point of the line is safe, and nothing was saved."""
    is_adapter: bool
    """Whether it is an adapter of the base, as the finetune was."""
    search: Search
    failed_attacks: str | None = None
    """How many attacks found no prompt, in words; None: every prompt was asked."""

    @property
    def best(self) -> Evaluation:
        """The point that was saved, or of the lowest attack success rate."""
        return self.search.best


class _Arguments(RepairOptions):
    """The arguments of `repair`."""

    on_evaluation: Callable[[Evaluation], None] | None = None
    """Called after each evaluation; when a repair is resumed, also after those that are stored."""


@takes(_Arguments)
def repair(options: _Arguments) -> Repaired:
    """Find the safe point nearest to a finetune on the way from its base, and save it; or resume.

    Raises:
        InputError: an argument cannot be used, or `out` has another repair.
        RunError: the repaired model cannot be written.

    """
    base, tuned, layers, max_asr = options.base, options.tuned, options.layers, options.max_asr
    data, capability, directory = options.data, options.capability, Path(options.out)
    if data is not None and capability is not None:
        raise InputError(f"--data {data} --capability {capability}: one loss or the other; leave one out")
    EvaluationLog.check(directory)
    harmful = PromptProbe(
        name="harmful",
        source=options.prompts,
        system_prompt=system_prompt_text(options.system_prompt),
        **load_set(options.prompts, options.limit)._asdict(),
    )
    _check_threshold(max_asr, len(harmful.prompts))
    conversations = conversations_of(data) if data is not None else []
    measured = None if capability is None else capability_probe(capability, None, flag="--capability")
    origin, other = resolve(base), resolve(tuned)
    if resized := resized_embeddings(origin.weights, other.weights, tuned):
        raise InputError(f"{tuned}: {resized[0]} has another number of rows than the base's; resize the base first")
    fingerprints = inspect(origin.weights), inspect(other.weights)
    if fingerprints[0] == fingerprints[1]:
        raise InputError(f"{tuned}: has the very weights of {base}; give a model that was changed")
    dtype, adapter = options.dtype or _dtype(other), _adapter(base, other)
    space, device = BlockSpace(origin.weights, other.weights, layers), device_of(options.device)
    tokenizer = tokenizer_of_model(other)
    variables = template_variables(each_of(options.template_vars))
    chats = format_chats(tokenizer, harmful.prompts, harmful.system_prompt, variables)
    thinking = thinking_of(tokenizer, harmful.prompts, chats, options.max_thinking_tokens)
    answers, generation = scored_answers(tokenizer, conversations, variables), generation_of(other, tokenizer)
    check_vocabulary(other, tokenizer, [*chats, *(context + answer for context, answer in answers)])
    request = RepairRequest.model_validate(
        {
            **options.model_dump(include=set(RepairRequest.model_fields)),
            "base_fingerprint": fingerprints[0],
            "tuned_fingerprint": fingerprints[1],
            "asked": sha256_of(harmful.asked(chats)),
            "max_thinking_tokens": None if thinking is None else thinking.max_tokens,
            # end tokens always held
            "generation": {name: value for name, value in generation.items() if name != "eos_token_id"},
            "loss": f"perplexity of the answers in {data}" if conversations else capability or "",
            "scored": sha256_of(answers if measured is None else measured.model_dump(mode="json")),
            "dtype": dtype,
            "device": device,
        }
    )

    def engine() -> TransformersEngine:
        opened = TransformersEngine(
            origin,
            tokenizer,
            space,
            dtype=getattr(torch, dtype),
            device=device,
            batch_size=options.batch_size,
            generation=generation,
        )
        opened.canary(Point(None, (1.0,) * layers))
        return opened

    evaluator = Evaluator(engine, harmful, chats, measured, answers, options.max_new_tokens, thinking)
    with EvaluationLog.open(directory, request) as log:

        def evaluate(coords: tuple[float, ...]) -> Evaluation:
            at = log.get(coords) or log.add(evaluator.at(coords))
            if options.on_evaluation is not None:
                options.on_evaluation(at)
            return at

        found = search(evaluate, layers, max_asr)
        evaluator.close()
        if not found.is_safe:
            log.discard()
        elif not (directory / "repair.json").exists():
            point = Point(None, found.best.coords)
            document = {
                "schema": 1,
                **options.model_dump(include={"base", "tuned", "max_asr", "prompts", "max_new_tokens"}),
                "loss": "perplexity of its answers" if conversations else capability or "",
                "tuned_at": found.evaluations[0].document(),
                "saved": found.best.document(),
                "evaluations": [each.document() for each in found.evaluations],
            }
            try:
                if adapter is not None:
                    save_rescaled(adapter, space, point, directory)
                else:
                    save_blend(origin, other, space, point, getattr(torch, dtype), directory)
            except (OSError, SafetensorError) as error:
                raise RunError(
                    f"{directory}: cannot be written ({first_line(error)}); free space, and the same command resumes"
                ) from error
            write_text(directory / "README.md", views.card_of(document))
            # written last: a directory with it is a finished repair
            write_text(directory / "repair.json", json.dumps(document, indent=1) + "\n")
    return Repaired(directory if found.is_safe else None, adapter is not None, found, harmful.failed_attacks)


def _check_threshold(max_asr: float, n: int) -> None:
    best = wilson(0, n).high
    if is_above(best, max_asr):
        raise InputError(
            f"--max-asr {max_asr:g}: with {n} prompts none of which is answered the interval still reaches "
            f"{best:.1f} %; give at least {prompts_to_decide(0.0, max_asr)} with --limit"
        )


def _dtype(tuned: Model) -> str:
    first = tuned.weights.tensor(tuned.weights.names()[0])
    return "bfloat16" if first.dtype == torch.bfloat16 else "float32"


def _adapter(base: str, tuned: Model) -> Adapted | None:
    """The finetune as an adapter, where it is one on this very base that can be rescaled."""
    under = tuned.name.rpartition("+")[0]
    adapted = tuned.weights
    return adapted if under == base and isinstance(adapted, Adapted) and adapted.has_only_pairs else None
