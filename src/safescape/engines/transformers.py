"""The transformers engine: one live model that is moved in place and decoded by this project.

The origin stays on disk and is read tensor by tensor. In memory are the live model and its mover's cache.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from safescape.engines.attention import ATTENTION
from safescape.engines.cuda_graphs import GraphDecoder, supports_cuda_graphs
from safescape.engines.devices import place
from safescape.engines.engine import Engine
from safescape.engines.exactness import plan_of
from safescape.engines.greedy import Settings
from safescape.engines.kv_cache import Caching
from safescape.engines.loading import load_model, mmap_allocations, trim_memory
from safescape.engines.parameters import live_tensors
from safescape.engines.speaker import Speaker
from safescape.survey import Point, Position
from safescape.weights import Model, Space, fingerprint, mover_of

_log = logging.getLogger(__name__)


class TransformersEngine(Speaker, Engine):
    """A model in transformers whose weights are moved in place.

    Args:
        subspace: Maps a point's coordinates to directions.
        device: The device of the live model; `cuda` distributes one that is too large for the first GPU. See
            `weights.noise_device` for what makes the random directions.
        batch_size: The maximum number of answers decoded together.
        generation: What the model's generation settings change of greedy decoding; None: what they say now.

    Raises:
        InputError: The model cannot be loaded, or lacks a tensor; its generation settings ask for another decoding.

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
        generation: Settings | None = None,
    ) -> None:
        with mmap_allocations():
            loaded = load_model(model, dtype, attention="eager", trust_remote_code=trust_remote_code)
            place(loaded, device, model.name)
            self._live = live_tensors(loaded.eval(), model.weights)
        plan = plan_of(loaded, model.name)
        is_fast = (plan.attention, plan.caching) == (ATTENTION, Caching.SHARED)
        decoder = GraphDecoder(loaded) if is_fast and supports_cuda_graphs(loaded) else None
        open_batch = decoder.open_batch if decoder else None
        super().__init__(loaded, tokenizer, batch_size, open_batch, generation, plan.caching, padded=plan.padded)
        shapes = {name: live.shape for name, live in self._live.items()}
        orders = {name: order for name, live in self._live.items() if (order := live.order) is not None}
        self._mover = mover_of(model.weights, subspace, shapes, dtype=dtype, device=loaded.device, orders=orders)
        self._origin = subspace.origin
        self.move_to(self._origin)
        self.fingerprint_at_start = self.fingerprint()
        _log.info(
            "engine ready on %s, attention: %s, cache: %s, padded: %s, CUDA graphs: %s",
            loaded.device,
            *plan,
            decoder is not None,
        )

    def move_to(self, point: Point) -> Position:
        """Move the live weights: origin + Σ coordinate·direction in fp32, rounded once, written by copy.

        Every weight is computed from the origin on disk, and no key/value cache outlives `respond`, so a point does
        not depend on earlier ones.
        """
        places = {name: live.place for name, live in self._live.items()}
        # Layers on another device than the mover's are copied there.
        here = {name: at for name, at in places.items() if at is not None and at.device == self._mover.device}
        moving = self._mover.move(point, here)
        for name, values in moving:
            self._live[name].write(values)
        trim_memory()
        return moving.position

    def fingerprint(self) -> str:
        """Return the fingerprint of the live weights."""
        return fingerprint(self._live, lambda name: self._live[name].read())

    def _logits(self) -> Tensor:
        tokens = torch.arange(1, 9, device=self._model.device)[None] % self._model.config.get_text_config().vocab_size
        with torch.inference_mode():
            return self._model(input_ids=tokens, use_cache=False).logits.clone()
