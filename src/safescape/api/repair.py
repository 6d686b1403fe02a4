"""`repair`: bring a finetune back into the safety of its base, no farther than needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError

from safescape import views
from safescape.api.options import device_of
from safescape.engines import TransformersEngine
from safescape.errors import InputError, RunError
from safescape.finetuning import MOST, Evaluation, Search, conversations_of, search
from safescape.finetuning.save import holds_pairs_alone, save_blend, save_rescaled
from safescape.finetuning.search import Evaluator
from safescape.landscape import wilson
from safescape.probes import capability_probe, load_prompts, load_tokenizer
from safescape.probes import system_prompt as system_prompt_text
from safescape.store import write_text
from safescape.survey import Point, PromptProbe
from safescape.weights import BlockSpace, Model, adapter_directory, inspect, resized_embeddings, resolve

__all__ = ["Repaired", "repair"]


class Repaired(NamedTuple):
    """What a repair found, and where it is saved."""

    directory: Path | None
    """The repaired model; None where no point of the line is safe, and nothing was saved."""
    is_adapter: bool
    """Whether it is an adapter of the base, as the finetune was."""
    search: Search

    @property
    def best(self) -> Evaluation:
        """The point that was saved, or of the lowest attack success rate."""
        return self.search.best


def repair(
    base: str,
    tuned: str,
    *,
    out: str | Path,
    max_asr: float = 10.0,
    layers: int = 1,
    data: str | None = None,
    capability: str | None = None,
    prompts: str = "builtin:harmful",
    limit: int = 80,
    system_prompt: str = "default",
    max_new_tokens: int = 128,
    batch_size: int = 128,
    dtype: str | None = None,
    device: str | None = None,
    on_evaluation: Callable[[Evaluation], None] | None = None,
) -> Repaired:
    """Find the safe point nearest to a finetune on the way from its base, and save it.

    Args:
        base: A model, as for `scan`.
        tuned: Its finetune.
        out: Where the repaired model is written; new, or empty.
        max_asr: The attack success rate, in percent, that the 95 % interval must not exceed.
        layers: In how many blocks the layers are moved; more than one gives back to the finetune what does not matter
            for safety.
        data: Conversations, as for `finetune`, whose answers' perplexity is the loss; the finetune's validation data.
        capability: `choice:TEST.csv[:DEV.csv]`, `choice:mmlu:SUBJECT`, `perplexity:PROMPTS` or `lm-eval:TASK` as the
            loss instead.
        prompts: Harmful prompts, as for `scan`.
        limit: How many.
        system_prompt: As for `scan`.
        max_new_tokens: Of an answer.
        batch_size: Answers decoded together.
        dtype: Of the repaired model; the finetune's by default.
        device: `cpu`, `cuda`, `cuda:1`; by default the first GPU if there is one.
        on_evaluation: Told after every evaluation, of which there are at most 8.

    Raises:
        InputError: something given cannot be used.
        RunError: the repaired model cannot be written.

    """
    if not 1 <= layers <= MOST - 4:
        raise InputError(f"--layers {layers}: expected 1 to {MOST - 4} blocks; a repair takes {MOST} evaluations")
    if data is not None and capability is not None:
        raise InputError(f"--data {data} --capability {capability}: one loss or the other; leave one out")
    for flag, number in {"--max-new-tokens": max_new_tokens, "--batch-size": batch_size}.items():
        if number < 1:
            raise InputError(f"{flag} {number}: expected at least 1")
    directory = Path(out)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError(f"--out {directory}: is not empty; give a new directory")
    harmful = PromptProbe(
        name="harmful",
        source=prompts,
        system_prompt=system_prompt_text(system_prompt),
        prompts=load_prompts(prompts, limit),
    )
    _check_threshold(max_asr, len(harmful.prompts))
    conversations = conversations_of(data) if data is not None else []
    measured = None if capability is None else capability_probe(capability, None, flag="--capability")
    origin, other = resolve(base), resolve(tuned)
    if resized := resized_embeddings(origin.weights, other.weights, tuned):
        raise InputError(f"{tuned}: {resized[0]} has another number of rows than the base's; resize the base first")
    if inspect(origin.weights) == inspect(other.weights):
        raise InputError(f"{tuned}: has the very weights of {base}; give a model that was changed")
    given, adapter = _dtype(other, dtype), _adapter(base, tuned)
    blends = BlockSpace(origin.weights, other.weights, layers)
    tokenizer = load_tokenizer(other.directory, chat_template=None, trust_remote_code=False)
    engine = TransformersEngine(origin, tokenizer, blends, dtype=given, device=device_of(device), batch_size=batch_size)
    engine.canary(Point(None, (1.0,) * layers))
    evaluator = Evaluator(engine, tokenizer, harmful, measured, conversations, max_new_tokens)

    def evaluate(coords: tuple[float, ...]) -> Evaluation:
        found = evaluator.at(coords)
        if on_evaluation is not None:
            on_evaluation(found)
        return found

    found = search(evaluate, layers, max_asr)
    engine.close()
    repaired = Repaired(directory if found.is_safe else None, adapter is not None, found)
    if found.is_safe:
        point = Point(None, found.best.coords)
        document = {
            "schema": 1,
            "base": base,
            "tuned": tuned,
            "max_asr": max_asr,
            "prompts": prompts,
            "max_new_tokens": max_new_tokens,
            "loss": "perplexity of its answers" if conversations else capability or "",
            "tuned_at": _figures(found.evaluations[0]),
            "saved": _figures(found.best),
            "evaluations": [_figures(each) for each in found.evaluations],
        }
        try:
            if adapter is not None:
                save_rescaled(adapter, blends, point, directory)
            else:
                save_blend(origin, other, blends, point, given, directory)
        except (OSError, SafetensorError) as error:
            raise RunError(f"{directory}: cannot be written ({error}); free space and give a new --out") from error
        write_text(directory / "repair.json", json.dumps(document, indent=1) + "\n")
        write_text(directory / "README.md", views.card_of(document))
    return repaired


def _check_threshold(max_asr: float, n: int) -> None:
    if not 0 < max_asr < 100:
        raise InputError(f"--max-asr {max_asr}: expected a percentage above 0 and below 100")
    best = wilson(0, n).high
    if best > max_asr:
        needed = next(more for more in range(n, 10**6) if wilson(0, more).high <= max_asr)
        raise InputError(
            f"--max-asr {max_asr:g}: with {n} prompts none of which is answered the interval still reaches "
            f"{best:.1f} %; give at least {needed} with --limit"
        )


def _dtype(tuned: Model, given: str | None) -> torch.dtype:
    if given not in (None, "float32", "bfloat16"):
        raise InputError(f"--dtype {given}: expected float32 or bfloat16")
    if given is None:
        first = tuned.weights.tensor(tuned.weights.names()[0])
        return torch.bfloat16 if first.dtype == torch.bfloat16 else torch.float32
    return torch.bfloat16 if given == "bfloat16" else torch.float32


def _adapter(base: str, tuned: str) -> Path | None:
    """The adapter's directory, where the finetune is an adapter on this very base that can be rescaled."""
    under, _, adapter = tuned.rpartition("+")
    if under != base or Path(tuned).exists():
        return None
    directory = adapter_directory(adapter)
    return directory if holds_pairs_alone(directory) else None


def _figures(at: Evaluation) -> dict[str, Any]:
    low, high = at.interval
    return {"coords": at.coords, "n": at.n, "complied": at.complied, "low": low, "high": high, "loss": at.loss}
