"""LoRA adapters: what is added is what PEFT merges, also scaled; adapters that cannot be added are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GPT2Config, PretrainedConfig

from helpers import tiny_models
from helpers.tiny_models import save_adapter, save_model
from safescape import InputError
from safescape.weights import Adapted, Checkpoint, InterpolationDirection, ScaledAdapter, resolve

GPT2 = GPT2Config(vocab_size=260, n_embd=32, n_layer=2, n_head=4, n_positions=512, bos_token_id=None, eos_token_id=0)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.0.self_attn.q_proj": 5}},
        {"modules_to_save": ["gate_proj"]},
    ],
    ids=["plain", "rslora", "patterns", "whole modules"],
)
def test_an_adapter_adds_what_peft_merges(tiny_model: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    directory = save_adapter(tiny_model, tmp_path / "adapter", **settings)
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), directory).merge_and_unload()
    expected = merged.state_dict()
    adapted = resolve(f"{tiny_model}+{directory}").weights
    changed = 0
    for name in adapted.names():
        torch.testing.assert_close(adapted.tensor(name).float(), expected[name], rtol=1e-6, atol=1e-6)
        changed += not torch.equal(adapted.tensor(name), Checkpoint(tiny_model).tensor(name))
    assert changed >= 4


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (None, {}),
        (None, {"use_rslora": True}),
        (None, {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"down_proj": 3}}),
        (GPT2, {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}),
    ],
)
@pytest.mark.parametrize("alpha", [-0.25, 0.5, 1.0])
def test_a_scaled_adapter_is_the_point(
    tmp_path: Path, config: PretrainedConfig | None, settings: dict[str, object], alpha: float
) -> None:
    """PEFT merges the written adapter, which it need not scale, and gets origin + α·direction."""
    base = save_model(tmp_path / "base", config)
    adapted = Adapted(Checkpoint(base), save_adapter(base, tmp_path / "adapter", **settings))
    (tmp_path / "scaled").mkdir()
    assert ScaledAdapter(adapted).write(tmp_path / "scaled", alpha, torch.float32) == alpha
    model = AutoModelForCausalLM.from_pretrained(base)
    merged = PeftModel.from_pretrained(model, tmp_path / "scaled").merge_and_unload().state_dict()
    direction = InterpolationDirection(adapted)
    for name in adapted.names():
        origin = adapted.base.tensor(name)
        expected = origin + alpha * direction.tensor(name, origin)
        found = merged.get(name, merged.get(f"transformer.{name}"))
        assert found is not None
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_the_factor_of_a_rounded_adapter(tmp_path: Path, tiny_model: Path) -> None:
    """⟨rounded, adapter⟩ / ⟨adapter, adapter⟩ of the full matrices equals that of rank × rank products."""
    adapted = Adapted(Checkpoint(tiny_model), save_adapter(tiny_model, tmp_path / "adapter"))
    (tmp_path / "scaled").mkdir()
    effective = ScaledAdapter(adapted).write(tmp_path / "scaled", 0.3, torch.bfloat16)
    rounded, whole = Adapted(adapted.base, tmp_path / "scaled").linear_pairs(), adapted.linear_pairs()
    along = square = 0.0
    for module, pair in whole.items():
        exact = pair.scaling * pair.left.double() @ pair.right.double()
        along += float((rounded[module].left.double() @ rounded[module].right.double() * exact).sum())
        square += float((exact * exact).sum())
    assert effective == pytest.approx(along / square, rel=1e-9)
    assert effective != 0.3
    assert effective == pytest.approx(0.3, rel=1e-3)


def test_an_adapter_for_another_base_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    wider = tiny_models.save_model(tmp_path / "wider", tiny_models.llama_config(hidden_size=64))
    adapter = save_adapter(wider, tmp_path / "adapter")
    with pytest.raises(InputError, match=r"has shape \(64, 64\), the base's \(32, 32\); give the base"):
        resolve(f"{tiny_model}+{adapter}")
    deeper = tiny_models.save_model(tmp_path / "deeper", tiny_models.llama_config(num_hidden_layers=3))
    adapter = save_adapter(deeper, tmp_path / "adapter2")
    with pytest.raises(InputError, match=r"layers\.2.*does not have"):
        resolve(f"{tiny_model}+{adapter}")


def test_a_configuration_that_is_no_object_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    adapter = save_adapter(tiny_model, tmp_path / "adapter")
    (adapter / "adapter_config.json").write_text("[]")
    with pytest.raises(InputError, match=r"adapter_config\.json: is not a JSON object"):
        resolve(f"{tiny_model}+{adapter}")
