"""The configuration of a LoRA adapter, and which of its fields this package computes exactly.

Every field of PEFT's `LoraConfig` stands in one of three groups here: exact, without effect on a trained adapter, or
refused with the reason. A test compares the groups with the installed PEFT, so a new field has to be decided.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Annotated, Any

import peft
from peft import LoraConfig
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from safescape.errors import InputError, first_line

EXACT_FIELDS = frozenset(
    {
        "peft_type",
        "r",
        "lora_alpha",
        "use_rslora",
        "rank_pattern",
        "alpha_pattern",
        "target_modules",
        "exclude_modules",
        "layers_to_transform",
        "layers_pattern",
        "modules_to_save",
        "trainable_token_indices",
        "ensure_weight_tying",
        "use_dora",
        "lora_bias",
        "init_lora_weights",
        "target_parameters",
    }
)
"""Fields that are computed as PEFT does; of `init_lora_weights` only the values of `_STARTS`."""

FIELDS_WITHOUT_EFFECT = frozenset(
    {
        # about the adapter, not about its arithmetic
        "task_type",
        "auto_mapping",
        "peft_version",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
        "runtime_config",
        # of the training only; what was trained is in the file
        "lora_dropout",
        "bias",
        "eva_config",
        # settings of a method that another field turns on
        "loftq_config",
        "corda_config",
        "lora_ga_config",
        "qalora_group_size",
        "megatron_core",
        # PEFT goes by the type of the layer
        "fan_in_fan_out",
    }
)
"""Fields that do not change what a trained adapter computes."""

REFUSED_FIELDS = {
    "use_qalora": "pools the inputs of quantised layers",
    "use_bdlora": "multiplies by block-diagonal matrices",
    "kasa_config": "truncates the base's weights when the adapter is loaded",
    "monteclora_config": "samples the weights of the adapter",
    "velora_config": "stores projections of its training beside the pairs",
    "arrow_config": "chooses among several adapters for each token",
    "alora_invocation_tokens": "applies only to what follows its invocation tokens",
    "layer_replication": "repeats layers, so that the model has other tensors than its base",
    "megatron_config": "is made for the layers of Megatron",
}
"""Fields with which, when set, a LoRA computes something else than pairs B@A beside the base's layers, and what."""

UNMERGED_FIELDS = ("use_dora", "lora_bias", "trainable_token_indices", "target_parameters")
"""Exact fields with which, when set, the change of a tensor is not a pair alone."""

_STARTS = ("true", "false", "none", "gaussian", "eva", "orthogonal", "mica")
"""The values of `init_lora_weights` that leave the base as it is."""

_MERGE = "merge the adapter into its base with merge_and_unload and give the merged model"


_Token = Annotated[int, Field(ge=0)]


class _Fields(BaseModel):
    """The types of the fields that this package computes with."""

    model_config = ConfigDict(strict=True, extra="allow")

    r: Annotated[int, Field(gt=0)] = 8
    lora_alpha: float = 8
    target_modules: list[str] | str | None = None
    target_parameters: list[str] | None = None
    exclude_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    rank_pattern: dict[str, Annotated[int, Field(gt=0)]] | None = None
    alpha_pattern: dict[str, float] | None = None
    trainable_token_indices: list[_Token] | dict[str, list[_Token]] | None = None
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    ensure_weight_tying: bool = False
    init_lora_weights: bool | str | None = True
    base_model_name_or_path: str | None = None


def read_lora_config(directory: Path) -> LoraConfig:
    """Read the configuration of a LoRA adapter.

    Raises:
        InputError: It is missing or damaged, or the adapter is something else than what is computed exactly.

    """
    path = directory / "adapter_config.json"
    try:
        given: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        inside = sorted(found.parent.name for found in directory.glob("*/adapter_config.json"))
        if inside:
            raise InputError(
                f"{directory}: no adapter_config.json in it, but adapters in {', '.join(inside)}; "
                f"give BASE+{directory / inside[0]}"
            ) from error
        raise InputError(f"{directory}: no adapter_config.json in it; give a PEFT adapter directory") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({error}); save the adapter again") from error
    if not isinstance(given, dict):
        raise InputError(f"{path}: is not a JSON object; save the adapter again")
    if given.get("peft_type") != "LORA":
        raise InputError(f"{path}: is a {given.get('peft_type')} adapter, expected LORA; merge it into its base first")
    _check_fields(path, given)
    try:
        _Fields.model_validate(given)
        with warnings.catch_warnings():
            # about fields that the checks above decide
            warnings.simplefilter("ignore")
            return LoraConfig.from_pretrained(str(directory))
    except ValidationError as error:
        wrong = error.errors()[0]
        field = ".".join(map(str, wrong["loc"]))
        raise InputError(
            f"{path}: {field} is {wrong['input']!r} ({wrong['msg']}), so PEFT cannot read it; save the adapter again"
        ) from error
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        raise InputError(f"{path}: PEFT cannot read it ({first_line(error)}); save the adapter again") from error


def _check_fields(path: Path, given: dict[str, Any]) -> None:
    known = {field.name for field in dataclasses.fields(LoraConfig)}
    for field in sorted(field for field, value in given.items() if value and field not in known):
        raise InputError(
            f"{path}: has the field {field}, which PEFT {peft.__version__} does not know and would ignore; {_MERGE}"
        )
    for field, reason in REFUSED_FIELDS.items():
        if given.get(field):
            raise InputError(f"{path}: uses {field}, which {reason}; {_MERGE}")
    start = given.get("init_lora_weights", True)
    if str(start).lower() not in _STARTS:
        raise InputError(
            f"{path}: init_lora_weights is {start!r}, which changes the base when the adapter is made or loaded; "
            "save it with save_pretrained(path_initial_model_for_weight_conversion=...), "
            "or merge it with merge_and_unload and give the merged model"
        )
