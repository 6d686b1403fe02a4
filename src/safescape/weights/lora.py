"""The line from a base to its LoRA finetune with no weight moved: at α the base has the adapter α times.

Base + α·(scaling·B@A) is base + scaling·(αB)@A, so a point is an adapter of its own for the same base.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import pad

from safescape.weights.checkpoint import Adapted, LowRank

__all__ = ["ScaledAdapter"]


class ScaledAdapter:
    """A LoRA that is written α times as large as it is.

    Args:
        adapted: The base with it on; all that it changes are layers that multiply.

    """

    def __init__(self, adapted: Adapted) -> None:
        self._adapted = adapted
        pairs = adapted.linear()
        self.modules = tuple(sorted(pairs))
        """Those that it changes, by the checkpoint's names."""
        self.rank = max(pair.right.shape[0] for pair in pairs.values())
        """The largest of its pairs."""

    def write(self, directory: Path, alpha: float, dtype: torch.dtype) -> float:
        """Write it as a PEFT adapter with scaling 1: A as it is, and α·scaling·B computed in fp32.

        All pairs have the rank of the largest; the others are filled with zeros.

        Args:
            directory: An empty one.
            alpha: How many times.
            dtype: Of the written pairs.

        Returns:
            How many times it is there as rounded: ⟨α-fold as rounded, adapter⟩ / ⟨adapter, adapter⟩. In fp32 that is
            `alpha`.

        """
        tensors: dict[str, Tensor] = {}
        along, square = 0.0, 0.0
        for module, pair in self._adapted.linear().items():
            left = (pair.left.float() * (alpha * pair.scaling)).to(dtype)
            right = pair.right.to(dtype)
            missing = self.rank - right.shape[0]
            tensors[f"base_model.model.{module}.lora_A.weight"] = pad(right, (0, 0, 0, missing)).contiguous()
            tensors[f"base_model.model.{module}.lora_B.weight"] = pad(left, (0, missing)).contiguous()
            if dtype != torch.float32:
                along += _product(LowRank(left, right, 1.0), pair)
                square += _product(pair, pair)
        save_file(tensors, directory / "adapter_model.safetensors")
        config = {
            "peft_type": "LORA",
            "r": self.rank,
            "lora_alpha": self.rank,
            "target_modules": sorted({module.rpartition(".")[2] for module in self.modules}),
            "bias": "none",
        }
        (directory / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        return along / square if square else alpha


def _product(a: LowRank, b: LowRank) -> float:
    """⟨a, b⟩ of the whole matrices, from products of rank × rank: tr((R_b R_aᵀ)(L_aᵀ L_b))."""
    lefts = a.left.double().T @ b.left.double()
    rights = a.right.double() @ b.right.double().T
    return a.scaling * b.scaling * float((lefts * rights).sum())
