"""The project's attention: torch's scaled dot-product attention (SDPA), which does not expand grouped keys and values.

Some models compute more than SDPA does: Gemma 2 caps the scores, gpt-oss has attention sinks. transformers passes such
settings to the attention as arguments, so an argument that SDPA has no part for is refused here, never left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "safescape_sdpa"
"""The name of this attention in transformers."""

_KNOWN = frozenset(
    {"scaling", "dropout", "is_causal", "position_bias", "cache"}
    # The mask has the window already.
    | {"sliding_window"}
    # What forward passes through, and what only flash attention or a caller of the weights reads.
    | {"position_ids", "cache_position", "past_key_values", "past_key_value", "use_cache", "output_attentions"}
    | {
        "output_hidden_states",
        "output_router_logits",
        "return_dict",
        "logits_to_keep",
        "layer_head_mask",
        "deterministic",
    }
)
"""Arguments that SDPA computes by, or that do not change what attention computes."""


class InexactError(Exception):
    """A model asks its attention for something that SDPA leaves out."""


def attend_by(model: PreTrainedModel, attention: str) -> bool:
    """Set the attention of a live model; return False if the model does not take it."""
    try:
        model.set_attn_implementation(attention)
    except (ValueError, ImportError):
        return False
    # A model whose attention is fixed when it is built only logs a warning.
    return model.config.get_text_config()._attn_implementation == attention


def _attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """SDPA that does not repeat grouped keys and values for every head when one token is decoded.

    With a single query position, the heads of a group can take the place of query positions. All other cases are
    passed on to transformers.
    """
    if unknown := [name for name in kwargs.keys() - _KNOWN if kwargs[name] is not None]:
        raise InexactError(", ".join(sorted(unknown)))
    groups = query.shape[1] // key.shape[1]
    plain = kwargs.get("position_bias") is None and kwargs.get("cache") is None
    # A mask with a part for each head, such as ALiBi's, does not fit the folded heads.
    plain = plain and (attention_mask is None or attention_mask.shape[1] == 1)
    if query.shape[2] != 1 or groups == 1 or not plain:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    rows, heads, _, width = query.shape
    folded = query.reshape(rows, heads // groups, groups, width)
    output = scaled_dot_product_attention(folded, key, value, attn_mask=attention_mask, scale=kwargs.get("scaling"))
    return output.reshape(rows, 1, heads, value.shape[-1]), None


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
