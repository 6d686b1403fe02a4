"""What is known of a model before it is measured: its tensors and their roles, its chats, and the memory it needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import JsonValue

from safescape.survey.thoughts import Markers
from safescape.survey.types import Frozen

Role = Literal["moves", "normalisation", "copy", "buffer", "not loaded"]
"""What becomes of a stored tensor: it `moves` in every direction; a `normalisation` layer's moves only between models;
a `copy` is tied to another one; a `buffer` is loaded and stays; one that is `not loaded` plays no part."""


class TensorGroup(Frozen):
    """Stored tensors whose names differ only in numbers, such as those of the layers."""

    name: str
    """With `*` in place of the numbers."""
    count: int
    shape: tuple[int, ...]
    dtype: str
    """As safetensors names it."""
    role: Role
    adapted: int = 0
    """Number of those that an adapter changes."""


class Memory(Frozen):
    """What a scan holds in memory, in bytes, without the libraries themselves."""

    weights: int
    """The live model; on a CPU an output head that is tied to the embedding is held twice."""
    direction: int
    """One direction, which is kept if it takes at most half of the free memory, and is generated anew otherwise."""
    token: int | None
    """Keys and values of one token in the cache; None where the configuration does not say."""


class ChatForm(Frozen):
    """What the model reads."""

    rendered: str
    """A request in the chat template, up to where the answer begins."""
    templates: tuple[str, ...]
    """Names of the tokenizer's chat templates, if it has several."""
    variables: tuple[str, ...]
    """Variables that the template reads, which `--template-var` sets."""
    special_tokens: Mapping[str, str]
    ends: tuple[str, ...]
    """The tokens that end an answer."""
    markers: Markers | None
    """Of a reasoning model's thoughts."""
    generation: Mapping[str, JsonValue]
    """What generation_config.json changes of greedy decoding."""


class Inspection(Frozen):
    """A model as `safescape inspect` shows it."""

    model: str
    directory: str
    adapters: tuple[str, ...]
    architecture: str
    """The class in transformers."""
    model_type: str
    parameters: int
    """Their number, tied ones once."""
    layers: int
    context: int | None
    """The number of tokens that the model reads; None where the configuration does not say."""
    tensors: tuple[TensorGroup, ...]
    tied: tuple[tuple[str, ...], ...]
    """Names in the live model of parameters that are one tensor."""
    chat: ChatForm | None
    memory: Mapping[Literal["float32", "bfloat16"], Memory]
    notes: tuple[str, ...]
    """What is done differently for this model."""
    problems: tuple[str, ...]
    """Why it cannot be scanned, or not in one way; empty if it can."""
