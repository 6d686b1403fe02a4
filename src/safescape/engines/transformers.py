"""The transformers engine: one live model, moved in place, that answers prompts wherever it stands.

The origin stays on disk and is read tensor by tensor; in memory are the live model and what its mover keeps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from safescape.engines.decoding import ATTENTION, decode
from safescape.engines.live import live_tensors
from safescape.engines.scoring import Likelihood, Request, score
from safescape.errors import InputError, RunError
from safescape.survey import Point, Position, Response
from safescape.weights import Model, Mover, Subspace, fingerprint

__all__ = ["TransformersEngine"]


class TransformersEngine:
    """Holds the live model, moves it to a point, answers prompts there.

    Args:
        model: Where the files lie, and the origin's weights.
        tokenizer: The model's.
        subspace: What a point's coordinates mean.
        dtype: Of the live weights.
        device: Where the live model stands and the noise is made.
        batch_size: The most answers decoded together.
        trust_remote_code: Whether the model may bring its own code.

    Raises:
        InputError: the model cannot be loaded, or lacks a tensor.

    """

    def __init__(
        self,
        model: Model,
        tokenizer: PreTrainedTokenizerBase,
        subspace: Subspace,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        batch_size: int = 128,
        trust_remote_code: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._start = subspace.origin
        self._batch_size = batch_size
        self._model = _load(model, dtype, device, trust_remote_code)
        self._live = live_tensors(self._model, model.weights)
        shapes = {name: live.shape for name, live in self._live.items()}
        self._mover = Mover(model.weights, subspace, shapes, dtype=dtype, device=self._model.device)
        self._return()
        self.fingerprint_at_start = self.fingerprint()

    def move_to(self, point: Point) -> Position:
        """Move the live weights: origin + Σ coordinate·direction in fp32, rounded once, written by copy.

        Nothing of an earlier point is left: every weight is computed from the origin on disk, and no cache of
        keys and values outlives `respond`.

        Returns:
            Where the weights stand as rounded; see `Mover.move`.

        """
        return self._mover.move(point, lambda name, values: self._live[name].write(values))

    def respond(self, chats: Sequence[str], *, max_new_tokens: int, stop: Sequence[str]) -> list[Response]:
        """Answer every chat greedily.

        Args:
            chats: What the model reads, chat template and all.
            max_new_tokens: The most tokens of an answer.
            stop: Substrings that settle an answer as soon as they appear; empty: every answer is written to its end.

        """
        tokens = self._tokenizer(list(chats), add_special_tokens=False)["input_ids"]
        continuations = decode(
            self._model,
            tokens,
            end_tokens=_end_tokens(self._model, self._tokenizer),
            max_new_tokens=max_new_tokens,
            batch_size=self._batch_size,
            is_settled=self._settled_by(stop),
        )
        return [Response(self._text(tokens), finish, len(tokens)) for tokens, finish in continuations]

    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Score texts after contexts, each on its own.

        Args:
            requests: (context, continuation). A context's trailing spaces count as the continuation's, as in lm-eval.
                With an empty context the continuation's first token is given, not scored, as in transformers' loss.

        Raises:
            InputError: nothing is left to score.

        """
        return score(self._model, [self._request(*request) for request in requests], batch_size=self._batch_size)

    def canary(self, point: Point) -> None:
        """Prove that moving works: to `point`, where the logits must differ, and back, where they must be bit-equal.

        Raises:
            RunError: they do not.

        """
        before = self._logits()
        self.move_to(point)
        away = self._logits()
        self._return()
        if torch.equal(before, away):
            raise RunError(
                f"moving the weights to {point.coords} changed no logit: this model does not use its weights"
            )
        if not torch.equal(before, self._logits()):
            raise RunError("moving the weights away and back changed the logits: this model cannot be measured")

    def fingerprint(self) -> str:
        """Return the fingerprint of the live weights as they stand."""
        return fingerprint((name, live.read()) for name, live in self._live.items())

    def close(self) -> str:
        """Go back to the origin and return its fingerprint, which equals `fingerprint_at_start`.

        Raises:
            RunError: it does not.

        """
        self._return()
        end = self.fingerprint()
        if end != self.fingerprint_at_start:
            raise RunError(f"the model did not come back to its origin: {self.fingerprint_at_start} became {end}")
        return end

    def _return(self) -> None:
        self.move_to(self._start)

    def _logits(self) -> Tensor:
        """Logits of a fixed text at the weights as they stand."""
        tokens = torch.arange(1, 9, device=self._model.device)[None] % self._model.config.get_text_config().vocab_size
        with torch.inference_mode():
            return self._model(input_ids=tokens, use_cache=False).logits.clone()

    def _request(self, context: str, continuation: str) -> Request:
        kept = context.rstrip()
        whole = self._tokenizer(kept + context[len(kept) :] + continuation)["input_ids"]
        given = len(self._tokenizer(kept)["input_ids"]) if kept else 1
        if len(whole) <= given:
            raise InputError(f"{(context + continuation)[:40]!r}: too short to be scored; give a longer text")
        return Request(whole[:given], whole[given:])

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def _settled_by(self, stop: Sequence[str]) -> Callable[[Sequence[int]], bool]:
        """Tell whether an answer holds one of the substrings, looking only where its newest token can have made one."""
        if not stop:
            return lambda tokens: False
        # a token is at least one byte, so the longest substring lies within this many; the slack is for a
        # character that began before the window
        window = max(len(text.encode()) for text in stop) + 8

        def is_settled(tokens: Sequence[int]) -> bool:
            newest = self._text(tokens[-window:])
            return any(text in newest for text in stop)

        return is_settled


def _load(model: Model, dtype: torch.dtype, device: str, trust_remote_code: bool) -> PreTrainedModel:
    with _quiet():
        try:
            answer: Any = AutoModelForCausalLM.from_pretrained(
                model.directory,
                dtype=dtype,
                attn_implementation=ATTENTION,
                trust_remote_code=trust_remote_code,
                use_safetensors=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise InputError(f"{model.name}: transformers cannot load it ({reason})") from error
    loaded: PreTrainedModel = answer[0]
    if missing := sorted(answer[1]["missing_keys"]):
        raise InputError(f"{model.name}: the checkpoint lacks the tensor {missing[0]}; download the model again")
    if getattr(loaded, "_is_stateful", False):
        raise InputError(f"{model.name}: a model with a recurrent state is not supported; give a transformer")
    torch.nn.Module.to(loaded, device)
    return loaded.eval()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' own progress bars and warnings out of the user's terminal."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    configured = model.generation_config.eos_token_id if model.generation_config is not None else None
    ends = configured if isinstance(configured, list) else [configured]
    return frozenset(int(token) for token in (*ends, tokenizer.eos_token_id) if token is not None)
