"""The gradient of the mean refusal margin with respect to a model's weights.

The margin is that of `probes.margin`, computed in torch; chats and openings are read as `openings` reads them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from safescape.engines.devices import place
from safescape.engines.exactness import plan_of
from safescape.engines.kv_cache import Caching
from safescape.engines.loading import load_model
from safescape.engines.loglikelihood import Request
from safescape.engines.openings import batches_of, can_share, read_after_chats
from safescape.engines.parameters import parameters_of
from safescape.engines.speaker import opening_requests
from safescape.survey import Openings
from safescape.weights import Inventory, Model

_log = logging.getLogger(__name__)

_TOGETHER = 8
"""Number of prompts whose margins are computed at a time; their activations are kept until the gradient is added."""


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
    moving = move_alone(loaded, parameters, model.weights.inventory)
    requests, caching = requests_of(tokenizer, chats, openings), plan_of(loaded, model.name).caching
    for margins in margins_of(loaded, requests, openings, caching):
        (margins.sum() / len(chats)).backward()
        _log.debug("added the gradient of %d prompts of %d", len(margins), len(chats))
    return {
        name: parameter.grad.detach().float().cpu() for name, parameter in moving.items() if parameter.grad is not None
    }


def move_alone(
    model: PreTrainedModel, parameters: Mapping[str, Parameter], inventory: Inventory
) -> dict[str, Parameter]:
    """Return the parameters that move, and let gradients be taken with respect to them alone.

    Embeddings, the output head and the parameters of normalisation layers rest.
    """
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    moving = {name: each for name, each in parameters.items() if name not in inventory.norms | inventory.ends}
    for parameter in moving.values():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    return moving


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


def margins_of(
    model: PreTrainedModel, requests: Sequence[Sequence[Request]], openings: Sequence[Openings], caching: Caching
) -> Iterator[Tensor]:
    """Yield the margins of some prompts at a time, (prompts,), with a graph where gradients are enabled.

    Args:
        model: A causal language model in evaluation mode.
        requests: By prompt, its refusing openings, then its complying ones; see `requests_of`.
        openings: By prompt, which tell how many of each there are.
        caching: How the model's cache is used.

    """
    is_shared = can_share(model, requests, caching)
    for numbers in batches_of(requests, _TOGETHER * max(map(len, requests))):
        some = [requests[number] for number in numbers]
        read = read_after_chats(model, some) if is_shared else _one_by_one(model, some)
        means = [torch.stack([text.mean() for text in texts]) for texts in read]
        refusing = [len(openings[number].refusing) for number in numbers]
        yield torch.stack([_margin(each, count) for each, count in zip(means, refusing, strict=True)])


def requests_of(
    tokenizer: PreTrainedTokenizerBase, chats: Sequence[str], openings: Sequence[Openings]
) -> list[list[Request]]:
    """Tokenise the openings after each chat, the refusing ones first."""
    return opening_requests(tokenizer, chats, [(*given.refusing, *given.complying) for given in openings])


def _margin(per_token: Tensor, refusing: int) -> Tensor:
    """Return a margin from the log-probabilities per token of openings, the first `refusing` of which refuse."""
    both = per_token[:refusing], per_token[refusing:]
    means = [torch.logsumexp(some, dim=0) - math.log(len(some)) for some in both]
    return means[0] - means[1]


def _one_by_one(model: PreTrainedModel, requests: Sequence[Sequence[Request]]) -> list[list[Tensor]]:
    """Return the log-probabilities of the tokens of every opening, by a pass for each with its chat."""
    found = []
    for some in requests:
        texts = []
        for context, continuation in some:
            row = torch.tensor([[*context, *continuation[:-1]]], device=model.device)
            logits = model(input_ids=row, use_cache=False).logits[0, len(context) - 1 :]
            targets = torch.tensor(list(continuation), device=model.device)
            texts.append(logits.log_softmax(dim=-1).gather(1, targets[:, None])[:, 0])
        found.append(texts)
    return found
