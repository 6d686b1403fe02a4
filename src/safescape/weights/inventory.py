"""Which tensors of a checkpoint's files are the model's own parameters, and what the others are.

transformers builds the model from its configuration on the meta device, without weights, in a fraction of a second.
Every stored name is renamed as transformers renames it when it loads, so that the two never disagree. Each stored
tensor then is a parameter, a copy of a tied one, a buffer that the model loads, or one that it does not load by a
rule; anything else is refused by name.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from torch.nn import Module
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
from transformers.utils import logging as transformers_logging

from safescape.errors import InputError, first_line
from safescape.weights.files import Stored
from safescape.weights.quantised.recognition import FLOATS

_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    RuntimeError,
    ArithmeticError,
    ImportError,
    StrictDataclassError,
)
"""What transformers raises for files that it cannot use; which one depends on the field that is wrong."""

_NEEDS_CODE = "; only scan, path and check run a model's own code: read it, then give them --trust-remote-code"

_WRAPPERS = re.compile(r"(?:^|\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.|^(module)\.")
"""What torch.compile, FSDP, activation checkpointing and DDP add to the names of a model that they wrap."""

_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
_NORM_CLASS = re.compile(r"[Nn]orm(Gated|PerHead|\d\w?)?$")
"""The end of the name of a normalisation layer's class: LlamaRMSNorm, NemotronLayerNorm1P, MambaRMSNormGated."""
_NAMED_LN = re.compile(r"ln(_\w+)?")


class Inventory(NamedTuple):
    """The tensors of a checkpoint's files by what they are to the model, each under its stored name."""

    parameters: Mapping[str, str]
    """The model's own parameters, tied ones once, with their names in the live model."""
    parts: Mapping[str, str]
    """Parameters that transformers fuses with others or rearranges when it loads them, such as those of one expert,
    with the parameter of the live model that each becomes a part of."""
    copies: Mapping[str, str]
    """Tensors equal to the parameter that they are tied to, with that parameter's stored name."""
    buffers: Mapping[str, str]
    """Tensors that the model loads and that are no parameters, with their names in the live model. None moves."""
    ignored: Mapping[str, str]
    """Tensors that the model does not load, with their names as transformers reports them: the model computes them
    itself, or transformers leaves them out."""
    norms: frozenset[str]
    """The parameters of normalisation layers, which do not move in a random direction."""
    ends: frozenset[str] = frozenset()
    """Those of the embedding of tokens and of the output head, which rest in a direction that a gradient, or the
    difference to another model, gives: a few of their rows would take the whole norm."""

    @property
    def identities(self) -> dict[str, str]:
        """What each parameter is called in every checkpoint of the model: its live name, or a part's stored name."""
        return {**self.parameters, **{name: name for name in self.parts}}


def inventory_of(
    model: PreTrainedModel, stored: Mapping[str, Stored], read: Callable[[str], Tensor], given: str
) -> Inventory:
    """Return what each stored tensor is to a model, which may be on the meta device.

    `read` reads a stored tensor; only tied tensors that are stored more than once are read. `given` names the model in
    messages.

    Raises:
        InputError: The files lack a tensor of the model, have one that it has not, or have one of another shape.

    """
    _check_wrappers(stored, given)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    first = {id(parameter): live for live, parameter in model.named_parameters()}
    state = model.state_dict(keep_vars=True)
    places: dict[str, dict[str, str]] = {}
    buffers, parts, unknown = {}, {}, {}
    for name, (live, is_converted) in _live_names(model, stored).items():
        if live not in state:
            unknown[name] = live
        elif is_converted:
            parts[name] = live
        elif live in parameters:
            places.setdefault(first[id(parameters[live])], {})[name] = live
        else:
            buffers[name] = live
    ignored = _not_loaded(model, stored, unknown)
    is_stored = places.keys() | buffers.values() | _targets(model, parts)
    _check_complete(model, is_stored, unknown.keys() - ignored, given)
    own: dict[str, str] = {}
    copies: dict[str, str] = {}
    for live, names in places.items():
        name = min(names, key=lambda each: (names[each] != live, each))
        own[name] = live
        copies |= dict.fromkeys(names.keys() - {name}, name)
    for name, live in [*own.items(), *parts.items(), *buffers.items()]:
        if name not in parts and stored[name].shape != tuple(state[live].shape):
            raise InputError(
                f"{given}: the tensor {name} has shape {stored[name].shape} in the checkpoint and "
                f"{tuple(state[live].shape)} in the model; download the model again"
            )
        if live in parameters and stored[name].dtype not in FLOATS:
            raise InputError(
                f"{given}: the tensor {name} is quantised ({stored[name].dtype}); give the unquantised model"
            )
    for copy, name in copies.items():
        if not torch.equal(read(copy).float(), read(name).float()):
            raise InputError(
                f"{given}: the configuration ties {copy} to {name}, but the files hold different values; set "
                "tie_word_embeddings to false in config.json if both are meant"
            )
    norms = norms_of(model)
    still = frozenset(name for name, live in {**own, **parts}.items() if live in norms)
    outer = _ends_of(model)
    ends = frozenset(name for name, live in own.items() if id(parameters[live]) in outer)
    return Inventory(own, parts, copies, buffers, {name: unknown[name] for name in sorted(ignored)}, still, ends)


def _ends_of(model: PreTrainedModel) -> set[int]:
    """Return the ids of the parameters of the embedding of tokens and of the output head."""
    modules = (model.get_input_embeddings(), model.get_output_embeddings())
    return {id(parameter) for module in modules if module is not None for parameter in module.parameters()}


def norms_of(model: Module) -> frozenset[str]:
    """Return the names of a live model's parameters that belong to normalisation layers, by the type of the layer.

    A layer whose class is neither torch's nor transformers' also counts if its name in the model says that it is one.
    """
    found = set()
    for path, module in model.named_modules():
        if _is_norm(module, path):
            found |= {f"{path}.{name}" for name, _ in module.named_parameters(recurse=False)}
    return frozenset(found)


def is_norm_by_name(name: str) -> bool:
    """Whether a tensor's name says that it belongs to a normalisation layer (`...norm...`, or GPT-2's `ln_1`)."""
    return "norm" in name.lower() or any(map(_NAMED_LN.fullmatch, name.split(".")))


@functools.lru_cache(maxsize=8)
def empty_model(directory: Path, config: str, given: str, *, trust_remote_code: bool) -> PreTrainedModel:
    """Return the model of a directory on the meta device, without weights; do not change it.

    `config` is the text of config.json, so that a changed one is read again.

    Raises:
        InputError: transformers cannot use the configuration.

    """
    with loading(given):
        settings = AutoConfig.from_pretrained(directory, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            model: PreTrainedModel = auto_class(settings).from_config(settings, trust_remote_code=trust_remote_code)
    return model


def auto_class(config: PreTrainedConfig) -> Any:
    """Return the class of transformers that loads a configuration's model, with a head for text.

    A model that also reads images, and that transformers does not list as a language model, has its head for text all
    the same.
    """
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return AutoModelForImageTextToText
    return AutoModelForCausalLM


@contextlib.contextmanager
def loading(name: str, problem: str = "transformers cannot load it") -> Iterator[None]:
    """Load the model `name` silently with transformers; its errors become an InputError that begins with `problem`."""
    with quiet():
        try:
            yield
        except _ERRORS as error:
            hint = _NEEDS_CODE if "trust_remote_code" in str(error) else ""
            raise InputError(f"{name}: {problem} ({_reason(error)}){hint}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide transformers' progress bars and warnings."""
    level, has_bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if has_bars:
            transformers_logging.enable_progress_bar()


def _live_names(model: PreTrainedModel, stored: Mapping[str, Stored]) -> dict[str, tuple[str, bool]]:
    """Return the name in the live model of each stored tensor, and whether transformers changes its values.

    This is the renaming of transformers' `convert_and_load_state_dict_in_model`.
    """
    transforms = get_model_conversion_mapping(model)
    renamings = [each for each in transforms if isinstance(each, WeightRenaming)]
    converters = [each for each in transforms if isinstance(each, WeightConverter)]
    prefix, state = model.base_model_prefix, model.state_dict(keep_vars=True)
    found = {}
    for name in stored:
        live, pattern = rename_source_key(name, renamings, converters, prefix, state)
        if live not in state and name in state:
            live, pattern = rename_source_key(name, [], [], prefix, state)
        found[name] = live, pattern is not None
    return found


def _targets(model: PreTrainedModel, parts: Mapping[str, str]) -> set[str]:
    """Return the parameters of the live model that transformers makes from parts.

    Where one stored tensor is split among several parameters, only the first of them is in `parts`.
    """
    found = set(parts.values())
    for transform in get_model_conversion_mapping(model):
        if isinstance(transform, WeightConverter) and len(transform.target_patterns) > 1:
            first, *others = transform.target_patterns
            found |= {live.replace(first, other) for live in parts.values() for other in others if first in live}
    return found


def _not_loaded(model: PreTrainedModel, stored: Mapping[str, Stored], unknown: Mapping[str, str]) -> set[str]:
    """Return the unknown stored tensors that the model computes itself, or that transformers leaves out.

    Transformers leaves out what the class of a model declares, such as layers for predicting several tokens, and
    `inv_freq` and `position_ids` of older files.
    """
    computed = {live for live, _ in model.named_buffers()}
    ignored = {name for name, live in unknown.items() if live in computed or _is_mask(name, stored[name].shape)}
    report: Any = SimpleNamespace(missing_keys=set(), unexpected_keys=set(unknown.values()))
    model._adjust_missing_and_unexpected_keys(report)
    return ignored | {name for name, live in unknown.items() if live not in report.unexpected_keys}


def _is_mask(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is what older attention layers saved beside weights: a causal mask or its fill value."""
    head, _, last = name.rpartition(".")
    if last == "_extra_state":
        return True
    if last == "masked_bias":
        return shape in ((), (1,))
    return last == "bias" and head.endswith(("attn", "attention")) and shape[:2] == (1, 1) and len(shape) == 4


def _check_wrappers(stored: Mapping[str, Stored], given: str) -> None:
    for name in sorted(stored):
        if found := _WRAPPERS.search(name):
            prefix = found[1] or f"^{found[2]}"
            raise InputError(
                f"{given}: the tensor {name} was saved from a wrapped model; load it with "
                f"from_pretrained(..., key_mapping={{'{prefix}.': ''}}) and save it with "
                "save_pretrained(..., save_original_format=False)"
            )


def _check_complete(model: PreTrainedModel, is_stored: set[str], unknown: set[str], given: str) -> None:
    """Check that every tensor of the model is stored, and that every stored tensor is known."""
    wanted = [live for live, _ in model.named_parameters()]
    persistent = model.state_dict(keep_vars=True).keys() - dict(model.named_parameters(remove_duplicate=False)).keys()
    lacking = [live for live in [*wanted, *sorted(persistent)] if live not in is_stored]
    if lacking and unknown:
        raise InputError(
            f"{given}: the checkpoint lacks the tensor {lacking[0]} of {type(model).__name__} and has {min(unknown)}, "
            "which it has not; give the model with the configuration that it was saved with"
        )
    if lacking:
        raise InputError(f"{given}: the checkpoint lacks the tensor {lacking[0]}; download the model again")
    if unknown:
        raise InputError(
            f"{given}: the checkpoint has the tensor {min(unknown)}, which {type(model).__name__} has not; give "
            "the model with the configuration that it was saved with"
        )


def _is_norm(module: Module, path: str) -> bool:
    if isinstance(module, _NORMS) or _NORM_CLASS.search(type(module).__name__):
        return True
    is_known = type(module).__module__.startswith(("torch.", "transformers."))
    return not is_known and is_norm_by_name(path.rpartition(".")[2])


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"KeyError: {first_line(error)}"
    if isinstance(error, StrictDataclassError):
        # The first line names the field, the second what is wrong with it.
        error = Exception(" ".join(str(error).split()))
    return first_line(error)
