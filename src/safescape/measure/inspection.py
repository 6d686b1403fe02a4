"""What safescape knows of a model before it measures it: its tensors, its chats, and what a scan needs."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping

from pydantic import JsonValue
from transformers import PreTrainedTokenizerBase

from safescape.engines import (
    check_vocabulary,
    check_whole,
    ends_of,
    full_attention_within,
    generation_of,
    load_config,
    needs_equal_lengths,
)
from safescape.errors import InputError
from safescape.measure.chats import tokenizer_of_model
from safescape.measure.memory import cached_bytes, count_parameters
from safescape.probes import format_chats, markers_of, variables_of
from safescape.survey import ChatForm, Inspection, Memory, Role, TensorGroup
from safescape.weights import Adapted, Checkpoint, Model, checkpoint_of, layer_of

ASKED = "A harmful request."
"""What the shown chat asks."""
_NUMBERS = re.compile(r"(?<=\.)\d+(?=\.)")
"""Numbers of layers and experts in a tensor's name."""


def inspection_of(
    model: Model,
    *,
    chat_template: str | None,
    template_name: str | None,
    variables: Mapping[str, JsonValue],
    trust_remote_code: bool,
) -> Inspection:
    """Look at a model without loading its weights.

    Raises:
        InputError: its files are not those of a model.

    """
    files, inventory = checkpoint_of(model.weights), model.weights.inventory
    architecture, config = files.architecture, load_config(model, trust_remote_code=trust_remote_code)
    text, problems = config.get_text_config(), list[str]()
    names = model.weights.names()
    parameters = count_parameters(model.weights)
    tied = sorted({shared for shared in architecture.parameters.values() if len(shared) > 1})
    chat = None
    try:
        tokenizer = tokenizer_of_model(
            model, chat_template=chat_template, template_name=template_name, trust_remote_code=trust_remote_code
        )
        chat = _chat(model, tokenizer, variables, trust_remote_code=trust_remote_code)
        check_vocabulary(model, tokenizer, [chat.rendered])
    except InputError as error:
        problems.append(str(error))
    notes = [*_notes(files)]
    try:
        check_whole(model.weights)
    except InputError as error:
        notes.append(f"vllm and finetune do not take it: {error}")
    held = {live: stored for stored, live in inventory.parameters.items()}
    twice = sum(math.prod(files.stored[held[name]].shape) for shared in tied for name in shared if name in held)
    return Inspection(
        model=model.name,
        directory=str(model.directory),
        adapters=tuple(map(str, model.adapters)),
        architecture=type(architecture.model).__name__,
        model_type=config.model_type,
        parameters=parameters,
        layers=len({layer for name in names if (layer := layer_of(name)) is not None}),
        context=getattr(text, "max_position_embeddings", None),
        tensors=tuple(_groups(model.weights, files)),
        tied=tuple(tied),
        chat=chat,
        memory={
            "float32": Memory(weights=4 * (parameters + twice), direction=4 * parameters, token=cached_bytes(text, 4)),
            "bfloat16": Memory(weights=2 * (parameters + twice), direction=4 * parameters, token=cached_bytes(text, 2)),
        },
        notes=tuple(notes),
        problems=tuple(problems),
    )


def _groups(weights: Checkpoint | Adapted, files: Checkpoint) -> Iterator[TensorGroup]:
    inventory, changed = weights.inventory, set[str]()
    while isinstance(weights, Adapted):
        changed |= weights.changed
        weights = weights.base
    moves = {**inventory.parameters, **inventory.parts}
    others: dict[str, Role] = {
        **dict.fromkeys(moves, "moves"),
        **dict.fromkeys(inventory.norms, "normalisation"),
        **dict.fromkeys(inventory.copies, "copy"),
        **dict.fromkeys(inventory.buffers, "buffer"),
        **dict.fromkeys(inventory.ignored, "not loaded"),
    }
    found: Counter[tuple[str, tuple[int, ...], str, Role]] = Counter()
    adapted: Counter[tuple[str, tuple[int, ...], str, Role]] = Counter()
    for name, role in sorted(others.items()):
        tensor = files.stored[name]
        key = (_NUMBERS.sub("*", name), tuple(tensor.shape), tensor.dtype, role)
        found[key] += 1
        adapted[key] += name in changed
    for key, count in found.items():
        name, shape, dtype, role = key
        yield TensorGroup(name=name, count=count, shape=shape, dtype=dtype, role=role, adapted=adapted[key])


def _chat(
    model: Model, tokenizer: PreTrainedTokenizerBase, variables: Mapping[str, JsonValue], *, trust_remote_code: bool
) -> ChatForm:
    own, (rendered,) = tokenizer.chat_template, format_chats(tokenizer, [ASKED], None, variables)
    generation = generation_of(model, tokenizer, trust_remote_code=trust_remote_code)
    ends = sorted(ends_of(generation, tokenizer))
    return ChatForm(
        rendered=rendered,
        templates=tuple(sorted(own)) if isinstance(own, dict) else (),
        variables=tuple(sorted(variables_of(tokenizer))),
        special_tokens={name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        ends=tuple(map(str, tokenizer.convert_ids_to_tokens(ends))),
        markers=markers_of(tokenizer, None),
        generation=generation,
    )


def _notes(files: Checkpoint) -> Iterator[str]:
    model = files.architecture.model
    if not model._can_set_attn_implementation():
        yield "its attention cannot be exchanged, so answers are decoded with the model's own, more slowly"
    longest = full_attention_within(model.config.get_text_config())
    if needs_equal_lengths(model, longest):
        yield "prompts share no prefix, because it computes positions or masks itself"
    elif longest < math.inf:
        yield (
            f"prompts share a prefix while prompt and answer have up to {longest:,} tokens, because of its windows or "
            "chunks"
        )
    if files.inventory.parts:
        yield (
            f"{len(files.inventory.parts)} tensors are fused or rearranged when transformers loads them; they move "
            "under the names of the files"
        )
    if any(part in live for live in files.inventory.parameters.values() for part in ("vision", "visual", "audio")):
        yield "the parts for images or sound move in random directions as the rest does; only texts are asked"
