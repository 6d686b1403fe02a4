"""The gradient of the mean refusal margin with respect to a model's weights.

Chats of a batch are read once, and the openings after them from a copy of their keys and values for each, so that a
prompt costs little more than its own tokens. The margin itself is that of `probes.margin`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from safescape.engines.devices import place
from safescape.engines.exactness import plan_of
from safescape.engines.kv_cache import Caching, padded_at_end
from safescape.engines.loading import load_model
from safescape.engines.loglikelihood import Request
from safescape.engines.parameters import parameters_of
from safescape.engines.row_lengths import caching_within, needs_equal_lengths
from safescape.engines.speaker import opening_requests
from safescape.survey import Openings
from safescape.weights import Model

_log = logging.getLogger(__name__)

_TOGETHER = 8
"""Number of prompts whose margins are computed at a time; their activations are kept until the gradient is added."""


class Prompt(NamedTuple):
    """The requests of one prompt."""

    refusing: Sequence[Request]
    complying: Sequence[Request]

    @property
    def requests(self) -> list[Request]:
        """All of them, the refusing ones first."""
        return [*self.refusing, *self.complying]


def margin_gradient(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    chats: Sequence[str],
    openings: Sequence[Openings],
    *,
    device: str = "cpu",
    trust_remote_code: bool = False,
) -> dict[str, Tensor]:
    """Return the gradient of the mean refusal margin over prompts, by the checkpoint's names, in fp32 on the CPU.

    Embeddings, the output head and the parameters of normalisation layers are left out, and so is what the margin does
    not depend on.

    Args:
        model: The origin.
        tokenizer: Of the model.
        chats: The prompts in the chat template.
        openings: By prompt.
        device: Where it is computed.
        trust_remote_code: Whether the model's own code may run.

    Raises:
        InputError: The model cannot be loaded, stores its parameters in parts, or an opening has no token.

    """
    loaded, parameters = load_origin(model, device, trust_remote_code=trust_remote_code)
    ends = (loaded.get_input_embeddings(), loaded.get_output_embeddings())
    resting = {id(parameter) for module in ends if module is not None for parameter in module.parameters()}
    norms = model.weights.inventory.norms
    moving = {name: each for name, each in parameters.items() if id(each) not in resting and name not in norms}
    for parameter in loaded.parameters():
        parameter.requires_grad_(False)
    for parameter in moving.values():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    prompts, caching = asked_after(tokenizer, chats, openings), plan_of(loaded, model.name).caching
    for number, margins in enumerate(margins_of(loaded, prompts, caching)):
        (margins.sum() / len(prompts)).backward()
        _log.debug("the gradient of %d prompts of %d", min((number + 1) * _TOGETHER, len(prompts)), len(prompts))
    return {
        name: parameter.grad.detach().float().cpu() for name, parameter in moving.items() if parameter.grad is not None
    }


def load_origin(
    model: Model, device: str, *, trust_remote_code: bool = False
) -> tuple[PreTrainedModel, dict[str, Parameter]]:
    """Load a model in fp32, its adapter merged, and return it with its parameters by the checkpoint's names.

    Raises:
        InputError: The model cannot be loaded, or stores its parameters in parts.

    """
    loaded = load_model(model, torch.float32, attention="eager", trust_remote_code=trust_remote_code)
    place(loaded, device, model.name)
    loaded.eval()
    parameters = parameters_of(loaded, model.weights)
    with torch.no_grad():
        for name, parameter in parameters.items():
            # an adapter is not part of what was loaded
            parameter.copy_(model.weights.tensor(name))
    return loaded, parameters


def asked_after(tokenizer: PreTrainedTokenizerBase, chats: Sequence[str], openings: Sequence[Openings]) -> list[Prompt]:
    """Tokenise the openings after each chat."""
    texts = [(*given.refusing, *given.complying) for given in openings]
    return [
        Prompt(some[: len(given.refusing)], some[len(given.refusing) :])
        for given, some in zip(openings, opening_requests(tokenizer, chats, texts), strict=True)
    ]


def margins_of(model: PreTrainedModel, prompts: Sequence[Prompt], caching: Caching) -> Iterator[Tensor]:
    """Yield the margins of some prompts at a time, (prompts,), with a graph, ordered by the lengths of their chats."""
    lengths = [len(each.context) + len(each.continuation) for prompt in prompts for each in prompt.requests]
    is_shared = caching_within(model, caching, min(lengths), max(lengths)) is Caching.SHARED
    order = sorted(prompts, key=lambda prompt: len(prompt.requests[0].context))
    for first in range(0, len(order), _TOGETHER):
        batch = order[first : first + _TOGETHER]
        together = is_shared and not needs_equal_lengths(model, max(lengths)) and _have_one_context(batch)
        per_token = _after_chats(model, batch) if together else _one_by_one(model, batch)
        yield torch.stack([_margin(prompt, some) for prompt, some in zip(batch, per_token, strict=True)])


def _margin(prompt: Prompt, per_token: Tensor) -> Tensor:
    """Return the margin of one prompt from the log-probability per token of each of its openings."""
    both = per_token[: len(prompt.refusing)], per_token[len(prompt.refusing) :]
    refusing, complying = (torch.logsumexp(some, dim=0) - torch.log(some.new_tensor(len(some))) for some in both)
    return refusing - complying


def _have_one_context(batch: Sequence[Prompt]) -> bool:
    """Whether all openings of each prompt are read after the same tokens."""
    return all(len({tuple(request.context) for request in prompt.requests}) == 1 for prompt in batch)


def _after_chats(model: PreTrainedModel, batch: Sequence[Prompt]) -> list[Tensor]:
    """Return the log-probabilities per token of the openings of each prompt; every chat is read once."""
    contexts = [prompt.requests[0].context for prompt in batch]
    lengths = torch.tensor([len(context) for context in contexts], device=model.device)
    longest = int(lengths.max())
    cache = DynamicCache()
    logits = model(input_ids=padded_at_end(contexts, model.device), past_key_values=cache, use_cache=True).logits
    last = logits[torch.arange(len(batch)), lengths - 1]
    rows = torch.tensor([place for place, prompt in enumerate(batch) for _ in prompt.requests], device=model.device)
    texts = [request.continuation for prompt in batch for request in prompt.requests]
    cache.batch_select_indices(rows)
    tokens = padded_at_end([text[:-1] or text for text in texts], model.device)
    ahead = torch.arange(tokens.shape[1], device=model.device)
    is_read = (torch.arange(longest, device=model.device) < lengths[:, None])[rows]
    later = model(
        input_ids=tokens,
        past_key_values=cache,
        use_cache=True,
        position_ids=lengths[rows][:, None] + ahead,
        attention_mask=torch.nn.functional.pad(is_read, (0, tokens.shape[1]), value=True),
    ).logits
    found = [
        _per_token(torch.cat([last[place][None], later[row, : len(text) - 1]]), text)
        for row, (place, text) in enumerate(zip(rows.tolist(), texts, strict=True))
    ]
    return list(torch.stack(found).split([len(prompt.requests) for prompt in batch]))


def _one_by_one(model: PreTrainedModel, batch: Sequence[Prompt]) -> list[Tensor]:
    """Return the same, with a pass for each opening and its chat."""
    found = []
    for prompt in batch:
        some = []
        for context, continuation in prompt.requests:
            row = torch.tensor([[*context, *continuation[:-1]]], device=model.device)
            logits = model(input_ids=row, use_cache=False).logits[0, len(context) - 1 :]
            some.append(_per_token(logits, continuation))
        found.append(torch.stack(some))
    return found


def _per_token(logits: Tensor, text: Sequence[int]) -> Tensor:
    """Return a text's log-probability per token from logits of shape (tokens, vocabulary)."""
    targets = torch.tensor(list(text), device=logits.device)
    return torch.log_softmax(logits, dim=-1).gather(1, targets[:, None]).mean()
