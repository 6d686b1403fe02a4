"""The transformers engine: one live model that is moved in place and decoded by this project.

The origin stays on disk and is read tensor by tensor. In memory are the live model and its mover's cache.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from safescape.engines.cuda_graphs import GraphDecoder, supports_cuda_graphs
from safescape.engines.decoding import ATTENTION
from safescape.engines.loading import load_model, mmap_allocations, trim_memory
from safescape.engines.loglikelihood import Likelihood
from safescape.engines.parameters import live_tensors
from safescape.engines.speaker import Speaker
from safescape.errors import RunError
from safescape.survey import Point, Position, Response
from safescape.weights import Model, Space, fingerprint, mover_of

_log = logging.getLogger(__name__)


class TransformersEngine:
    """Holds the live model, moves it to a point, and answers and scores there.

    Args:
        model: The model's files and the origin's weights.
        tokenizer: The model's tokenizer.
        subspace: Maps a point's coordinates to directions.
        dtype: The dtype of the live weights.
        device: The device of the live model, which also generates the noise.
        batch_size: The maximum number of answers decoded together.
        trust_remote_code: Whether the model may run its own code.

    Raises:
        InputError: The model cannot be loaded, or lacks a tensor.

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
        with mmap_allocations():
            loaded = load_model(model, dtype, attention=ATTENTION, trust_remote_code=trust_remote_code)
            torch.nn.Module.to(loaded, device)
            self._model = loaded.eval()
            self._live = live_tensors(self._model, model.weights)
        decoder = GraphDecoder(self._model) if supports_cuda_graphs(self._model) else None
        self._speaker = Speaker(self._model, tokenizer, batch_size, decoder.open_batch if decoder else None)
        shapes = {name: live.shape for name, live in self._live.items()}
        self._mover = mover_of(model.weights, subspace, shapes, dtype=dtype, device=self._model.device)
        self._return()
        self.fingerprint_at_start = self.fingerprint()
        _log.info("engine ready on %s, CUDA graphs: %s", self._model.device, decoder is not None)

    def move_to(self, point: Point) -> Position:
        """Move the live weights: origin + Σ coordinate·direction in fp32, rounded once, written by copy.

        Every weight is computed from the origin on disk, and no key/value cache outlives `respond`, so a point does
        not depend on earlier ones.

        Returns:
            The position of the rounded weights; see `Moving.position`.

        """
        places = {name: live.place for name, live in self._live.items()}
        moving = self._mover.moving(point, {name: place for name, place in places.items() if place is not None})
        for name, values in moving:
            self._live[name].write(values)
        trim_memory()
        return moving.position

    def respond(self, chats: Sequence[str], *, max_new_tokens: int, stop: Sequence[str]) -> list[Response]:
        """Answer every chat greedily; see `Speaker.respond`."""
        return self._speaker.respond(chats, max_new_tokens=max_new_tokens, stop=stop)

    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Score continuations after their contexts; see `Speaker.loglikelihood`."""
        return self._speaker.loglikelihood(requests)

    def canary(self, point: Point) -> None:
        """Check that moving works: the logits must differ at `point` and be bit-equal after the return.

        Raises:
            RunError: They do not differ, or are not bit-equal.

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
        """Return the fingerprint of the live weights."""
        return fingerprint(self._live, lambda name: self._live[name].read())

    def close(self) -> str:
        """Return to the origin and return its fingerprint, which must equal `fingerprint_at_start`.

        Raises:
            RunError: It differs.

        """
        self._return()
        end = self.fingerprint()
        if end != self.fingerprint_at_start:
            raise RunError(f"the model did not return to its origin: {self.fingerprint_at_start} became {end}")
        return end

    def _return(self) -> None:
        self.move_to(self._start)

    def _logits(self) -> Tensor:
        """Return the logits of fixed tokens."""
        tokens = torch.arange(1, 9, device=self._model.device)[None] % self._model.config.get_text_config().vocab_size
        with torch.inference_mode():
            return self._model(input_ids=tokens, use_cache=False).logits.clone()
