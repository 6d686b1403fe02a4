"""Build tiny random models for docs/howto/inspect.md: a mixture of experts, one that reads images, and an adapter.

    python examples/inspect/build.py --out runs/tiny

The adapter has a chat template of its own. All have the tokenizer of demo-base, which is fetched if it is not there.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

from safescape.weights import resolve

TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
EYE = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 64, "patch_size": 14}
ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 4]}}
OWN_TEMPLATE = (
    "{% for message in messages %}### {{ message.role }}\n{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}### assistant\n{% if enable_thinking is defined and not enable_thinking %}"
    "<think></think>{% else %}<think>{% endif %}{% endif %}"
)


def main() -> None:
    """Build the models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(resolve("demo-base").directory)
    text = {**TEXT, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    moe = AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen3_moe", **text, **EXPERTS))
    seeing = AutoConfig.for_model("qwen2_5_vl", text_config={**text, **ROPE}, vision_config=EYE)
    for name, model in (("moe", moe), ("seeing", AutoModelForImageTextToText.from_config(seeing))):
        model.save_pretrained(out / name)
        tokenizer.save_pretrained(out / name)
    # its base stays as it is
    base = AutoModelForCausalLM.from_pretrained(out / "moe")
    adapted = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    adapted.save_pretrained(str(out / "adapter"))
    tokenizer.chat_template = OWN_TEMPLATE
    tokenizer.save_pretrained(out / "adapter")


if __name__ == "__main__":
    main()
