"""The dtype of the live weights that `--dtype auto` chooses, from the model's files, the survey's points and the GPU.

A CPU computes in fp32. On a GPU, bf16 is chosen where it rounds nothing at the origin, that is, for random directions
around a checkpoint that is stored in bf16. Whatever it would round (a line between models, merged adapters, fp16) is
measured in fp32, if that fits into the memory of the GPU.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Literal, NamedTuple

import torch

from safescape.engines import load_config
from safescape.measure.memory import cached_bytes, count_parameters
from safescape.placement import Placement
from safescape.survey import ComputedAxis, InterpolationAxis, PromptProbe, Survey
from safescape.weights import Adapted, Model, checkpoint_of

_SHARE = 0.8
"""Share of a GPU's memory that weights, keys and values may take; activations, moved tensors and CUDA take the rest."""
_TEMPLATE = 128
"""Tokens of a chat template with a system prompt, for the size of the cache."""
_BYTES_OF_A_TOKEN = 3
"""Bytes of text that make one token, at least on average, in most languages."""
_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Floating dtypes, by their names in safetensors."""


class Gpu(NamedTuple):
    """The GPUs of one engine."""

    memory: int | None
    """Bytes, used or free, since what is free differs between two sessions of a run. None: not known, as the GPUs are
    those of a Ray cluster."""
    has_bfloat16: bool = True
    """Whether it computes in bf16."""


class DtypeChoice(NamedTuple):
    """The dtype of the live weights, and why."""

    dtype: Literal["float32", "bfloat16"]
    why: str | None = None
    """The remark that is printed; None on a CPU, where there is no choice."""


class Facts(NamedTuple):
    """What the choice depends on."""

    gpu: Gpu | None
    """None on a CPU."""
    rounded: str | None
    """What bf16 would round, in words; None: nothing but the moves in random directions."""
    needed: int
    """Bytes of the weights, keys and values in fp32."""
    beside: bool = False
    """Whether an adapter is applied beside the weights; on a GPU vLLM's kernels for that take no fp32."""


def dtype_of(facts: Facts) -> DtypeChoice:
    """Return the dtype for some facts."""
    gpu, rounded, needed, beside = facts
    if gpu is None:
        return DtypeChoice("float32")
    if beside:
        return DtypeChoice("bfloat16", "in bfloat16, because vLLM's kernels for adapters take no float32")
    if not gpu.has_bfloat16:
        return DtypeChoice("float32", "in float32, because this GPU has no arithmetic in bfloat16")
    if rounded is None:
        return DtypeChoice("bfloat16", "in bfloat16, as the checkpoint is stored")
    if gpu.memory is None:
        return DtypeChoice(
            "float32",
            f"in float32, because bfloat16 would round {rounded}; whether it fits into the cluster's GPUs is not known "
            "here: --dtype bfloat16 needs half the memory",
        )
    if needed <= _SHARE * gpu.memory:
        why = f"in float32, because bfloat16, which is faster, would round {rounded}"
        return DtypeChoice("float32", why)
    return DtypeChoice(
        "bfloat16",
        f"in bfloat16, which rounds {rounded}: in float32 weights and cache would take {_gigabytes(needed)}, more than "
        f"{_SHARE:.0%} of the GPU's {_gigabytes(gpu.memory)}",
    )


def choose_dtype(survey: Survey, model: Model, gpu: Gpu | None) -> DtypeChoice:
    """Return the dtype for a survey, whose own is not read, and the model that it names.

    Raises:
        InputError: transformers cannot use the model's configuration.

    """
    if gpu is None:
        return dtype_of(Facts(None, None, 0))
    facts = Facts(gpu, _rounded(survey, model), _needed(survey, model), survey.adapter == "unmerged")
    return dtype_of(facts)


def gpu_of(device: str, placement: Placement, tensor_parallel: int) -> Gpu | None:
    """Return what each engine has of GPUs; None if it runs on a CPU.

    Layers that the transformers engine could distribute over further GPUs are not counted on: distributed, a model
    decodes without CUDA graphs.
    """
    where = torch.device(device)
    if where.type == "cpu":
        return None
    if placement.ray is not None:
        return Gpu(None)
    if where.type == "mps":
        return Gpu(torch.mps.recommended_max_memory())
    if where.type == "xpu":
        return Gpu(torch.xpu.get_device_properties(where).total_memory)
    # one engine in this process takes the first GPU, several may take any
    is_first = placement.is_local and tensor_parallel == 1
    numbers = [where.index or 0] if where.index is not None or is_first else range(torch.cuda.device_count())
    memory = min(torch.cuda.get_device_properties(number).total_memory for number in numbers)
    share = min(1.0, placement.gpus_per_worker or 1.0)
    # before Ampere, NVIDIA's GPUs emulate bf16, and Triton compiles no kernel with it for them
    has_bfloat16 = all(torch.cuda.get_device_capability(number) >= (8, 0) for number in numbers)
    return Gpu(int(tensor_parallel * share * memory), has_bfloat16)


def _rounded(survey: Survey, model: Model) -> str | None:
    """Return what bf16 would round, beside moves in random directions."""
    if survey.through or any(isinstance(axis, InterpolationAxis) for axis in survey.subspace.axes):
        return "the weights between the models"
    if any(isinstance(axis, ComputedAxis) for axis in survey.subspace.axes):
        return "moves along a computed direction, which are small"
    if isinstance(model.weights, Adapted):
        return "what the adapter changes"
    stored = _stored_dtype(model)
    return None if stored == "bfloat16" else f"the checkpoint, which is stored in {stored}"


def _stored_dtype(model: Model) -> str:
    """Return the dtype that most of a model's weights are stored in."""
    sizes, stored = Counter[str](), checkpoint_of(model.weights).stored
    for name in model.weights.names():
        sizes[stored[name].dtype] += math.prod(stored[name].shape)
    ((dtype, _),) = sizes.most_common(1)
    return _NAMES[dtype]


def _needed(survey: Survey, model: Model) -> int:
    """Return the bytes in fp32 of the weights, and of the keys and values of the answers that are decoded together."""
    probes = [probe for probe in survey.probes if isinstance(probe, PromptProbe)]
    rows = min(survey.batch_size, max(len(probe.prompts) for probe in probes))
    longest = max(len(prompt.encode()) for probe in probes for prompt in probe.prompts)
    thought = 0 if survey.markers is None else survey.max_thinking_tokens or survey.max_new_tokens
    tokens = _TEMPLATE + longest // _BYTES_OF_A_TOKEN + thought + survey.max_new_tokens
    config = load_config(model, trust_remote_code=survey.trust_remote_code).get_text_config()
    return 4 * count_parameters(model.weights) + rows * tokens * (cached_bytes(config, 4) or 0)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
