"""The transformers engine: one live model, moved in place, that answers prompts wherever it stands.

The origin stays on disk and is read tensor by tensor; in memory are the live model and what its mover keeps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from safescape.engines.cuda_graphs import Replayer, is_replayable
from safescape.engines.decoding import ATTENTION
from safescape.engines.loading import give_back, load_model, mapped
from safescape.engines.loglikelihood import Likelihood
from safescape.engines.parameters import live_tensors
from safescape.engines.speaker import Speaker
from safescape.errors import RunError
from safescape.survey import Point, Position, Response
from safescape.weights import Model, Space, fingerprint, mover_of

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
        subspace: Space,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        batch_size: int = 128,
        trust_remote_code: bool = False,
    ) -> None:
        self._start = subspace.origin
        with mapped():
            loaded = load_model(model, dtype, attention=ATTENTION, trust_remote_code=trust_remote_code)
            torch.nn.Module.to(loaded, device)
            self._model = loaded.eval()
            self._live = live_tensors(self._model, model.weights)
        replayer = Replayer(self._model) if is_replayable(self._model) else None
        self._speaker = Speaker(self._model, tokenizer, batch_size, replayer.rows if replayer else None)
        shapes = {name: live.shape for name, live in self._live.items()}
        self._mover = mover_of(model.weights, subspace, shapes, dtype=dtype, device=self._model.device)
        self._return()
        self.fingerprint_at_start = self.fingerprint()

    def move_to(self, point: Point) -> Position:
        """Move the live weights: origin + Σ coordinate·direction in fp32, rounded once, written by copy.

        Nothing of an earlier point is left: every weight is computed from the origin on disk, and no cache of
        keys and values outlives `respond`.

        Returns:
            Where the weights stand as rounded; see `Moving.position`.

        """
        places = {name: live.place for name, live in self._live.items()}
        moving = self._mover.moving(point, {name: place for name, place in places.items() if place is not None})
        for name, values in moving:
            self._live[name].write(values)
        give_back()
        return moving.position

    def respond(self, chats: Sequence[str], *, max_new_tokens: int, stop: Sequence[str]) -> list[Response]:
        """Answer every chat greedily; see `Speaker.respond`."""
        return self._speaker.respond(chats, max_new_tokens=max_new_tokens, stop=stop)

    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Score texts after contexts; see `Speaker.loglikelihood`."""
        return self._speaker.loglikelihood(requests)

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
        return fingerprint(self._live, lambda name: self._live[name].read())

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
