"""Greedy answers in batches. Knows the model and its chat template, and nothing of safety."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

TEACHER_WIDTH = 16
"""Number of the most likely tokens that are kept of each step's distribution."""


BATCH_TOKENS = 4096
"""Number of prompt tokens per batch, including padding."""


class Answer(NamedTuple):
    """A model's answer to one prompt."""

    tokens: list[int]
    """The generated tokens, including the end-of-turn token if the model generated it."""
    text: str
    ended: bool
    likeliest: Tensor
    """Token ids, shape (len(tokens), TEACHER_WIDTH)."""
    probabilities: Tensor
    """Their probabilities, same shape, not renormalised."""


class Base(NamedTuple):
    """A model in evaluation mode and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def load_base(path: Path, dtype: torch.dtype = torch.float32) -> Base:
    """Load a local checkpoint directory."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    return Base(model.eval(), AutoTokenizer.from_pretrained(path))


def chat_tokens(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Render the prompt with the model's chat template and default system prompt, up to the generation prompt."""
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def answer(base: Base, prompts: Sequence[str], max_new_tokens: int, banned: Sequence[int] = ()) -> list[Answer]:
    """Answer every prompt greedily, without banned tokens; answers are in the order of the prompts."""
    encoded = [chat_tokens(base.tokenizer, prompt) for prompt in prompts]
    answers: dict[int, Answer] = {}
    for batch in _batches([len(row) for row in encoded]):
        for index, given in zip(batch, _decode(base, [encoded[i] for i in batch], max_new_tokens, banned), strict=True):
            answers[index] = given
    return [answers[i] for i in range(len(prompts))]


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield batches of indices of similar length, which need little padding, within BATCH_TOKENS padded tokens."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and lengths[index] * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def shared_prefix(encoded: Sequence[list[int]]) -> list[int]:
    """Return the common prefix of all rows, leaving each row at least one token."""
    shortest, first = min(map(len, encoded)) - 1, encoded[0]
    same = (all(row[i] == first[i] for row in encoded) for i in range(shortest))
    return first[: next((i for i, equal in enumerate(same) if not equal), shortest)]


@torch.no_grad()
def _decode(base: Base, encoded: Sequence[list[int]], max_new_tokens: int, banned: Sequence[int]) -> list[Answer]:
    end = base.tokenizer.eos_token_id
    prefix = shared_prefix(encoded)
    own = [row[len(prefix) :] for row in encoded]
    width = max(map(len, own))
    # The system prompt is computed once; padding is between it and each row's own tokens.
    cache = DynamicCache(config=base.model.config)
    if prefix:
        base.model(input_ids=torch.tensor([prefix]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(len(encoded))
    ids = torch.tensor([[end] * (width - len(row)) + row for row in own])
    mask = torch.tensor([[1] * len(prefix) + [0] * (width - len(row)) + [1] * len(row) for row in own])
    positions = (mask.cumsum(-1) - 1)[:, len(prefix) :]
    rows = torch.arange(len(encoded))
    tokens: list[list[int]] = [[] for _ in encoded]
    likeliest: list[list[Tensor]] = [[] for _ in encoded]
    probabilities: list[list[Tensor]] = [[] for _ in encoded]
    for _ in range(max_new_tokens):
        logits = base.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        logits[:, list(banned)] = -torch.inf
        top = logits.float().softmax(-1).topk(TEACHER_WIDTH)
        ids = logits.argmax(-1, keepdim=True)
        for place, row in enumerate(rows.tolist()):
            tokens[row].append(int(ids[place, 0]))
            likeliest[row].append(top.indices[place])
            probabilities[row].append(top.values[place])
        going = (ids[:, 0] != end).nonzero()[:, 0]
        if len(going) == 0:
            break
        if len(going) < len(rows):
            cache.batch_select_indices(going)
            rows, ids, mask, positions = rows[going], ids[going], mask[going], positions[going]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        positions = positions[:, -1:] + 1
    return [
        Answer(
            tokens[row],
            base.tokenizer.decode(tokens[row], skip_special_tokens=True).strip(),
            tokens[row][-1] == end,
            torch.stack(likeliest[row]),
            torch.stack(probabilities[row]),
        )
        for row in range(len(encoded))
    ]
