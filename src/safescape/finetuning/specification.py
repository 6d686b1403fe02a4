"""What decides a finetune, and what comes of it. Knows no model and no library that trains."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from safescape.survey import Frozen

__all__ = ["Finetune", "Finetuned", "Step"]


class Finetune(Frozen):
    """What decides a finetune; written to finetune.json, which the same command given again must equal."""

    schema_version: Literal[1] = 1
    model: str
    model_fingerprint: str
    data: str
    """As the user wrote it, with the recipe."""
    taught: str
    """SHA-256 of the conversations."""
    examples: int
    method: Literal["full", "lora", "freeze"] = "full"
    rank: int = Field(default=16, ge=1)
    """Of a LoRA on all linear layers; its alpha is twice that."""
    frozen_layers: int = Field(default=0, ge=0)
    """`freeze`: the embeddings and so many layers, from the first, are not trained."""
    epochs: int = Field(default=5, ge=1)
    learning_rate: float = Field(default=5e-5, gt=0, allow_inf_nan=False)
    decay: float = Field(default=0.85, gt=0, le=1)
    """What the learning rate is multiplied with after every epoch."""
    batch_size: int = Field(default=4, ge=1)
    max_tokens: int = Field(default=480, ge=2)
    """Of request and answer together; what is longer is cut at its end."""
    seed: int = Field(default=0, ge=0)
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the arithmetic; `bfloat16` is mixed precision. The weights are kept and saved in fp32."""
    device: str = "cpu"

    @property
    def steps_per_epoch(self) -> int:
        """Updates of the weights in an epoch."""
        return math.ceil(self.examples / self.batch_size)


class Step(NamedTuple):
    """How far a training is."""

    done: int
    total: int
    loss: float
    """Mean cross-entropy of the last batch's answers, in nats a token."""


class Finetuned(NamedTuple):
    """A finished finetune."""

    directory: Path
    """Loads in transformers; of a LoRA, in PEFT."""
    checkpoints: tuple[Path, ...]
    """One an epoch, in their order; each loads as well."""
    losses: tuple[float, ...]
    """Epoch by epoch, the mean over its steps."""
    stopped_at: int | None = None
    """The step after which a callback stopped the training."""
