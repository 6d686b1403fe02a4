"""What the tensors of a LoRA adapter's file do to the parameters of its base.

PEFT decides by names and types of modules which of them an adapter changes. The same rules are applied here to the
modules of the base without its weights, and every tensor of the file must have its place in the result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import _maybe_include_all_linear_layers, check_target_module_exists
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from peft.utils.other import get_pattern_key
from torch import Tensor

from safescape.errors import InputError, first_line
from safescape.weights.architecture import Architecture
from safescape.weights.inventory import Inventory

Read = Callable[[str], Tensor]
"""Reads a tensor of the adapter's file by its key."""


class LowRank(NamedTuple):
    """A low-rank matrix: scaling · left @ right."""

    left: Tensor
    """Shape (rows, rank)."""
    right: Tensor
    """Shape (rank, columns)."""
    scaling: float

    @property
    def shape(self) -> torch.Size:
        """The shape of the product, (rows, columns)."""
        return torch.Size((self.left.shape[0], self.right.shape[1]))

    def added_to(self, tensor: Tensor) -> Tensor:
        """Return `tensor` plus the product, fp32, on the tensor's device."""
        left, right = (factor.to(tensor.device).float() for factor in (self.left, self.right))
        return torch.addmm(tensor.float(), left, right, alpha=self.scaling)


@dataclass(frozen=True)
class Whole:
    """A tensor that replaces the base's."""

    key: str

    def operands(self, read: Read) -> tuple[Tensor, ...]:
        """Return the tensors that determine the change."""
        return (read(self.key),)

    def misfit(self, shape: torch.Size, read: Read) -> torch.Size | None:
        """Return the shape of the change if it does not fit a tensor of `shape`."""
        found = read(self.key).shape
        return None if found == shape else found

    def applied(self, tensor: Tensor, read: Read) -> Tensor:
        """Return the changed tensor."""
        return read(self.key)


@dataclass(frozen=True)
class Pair:
    """A low-rank pair on a linear layer or an embedding, rescaled by a magnitude with DoRA (arXiv 2402.09353, eq. 5).

    W' = W + s·BA, and with DoRA W' = m (W + s·BA) / ‖W + s·BA‖ with one norm and one magnitude for each output.
    """

    module: str
    down: str
    up: str
    rank: int
    """The rank that the configuration gives."""
    scaling: float
    is_embedding: bool
    is_fan_in: bool
    """Whether the weight is stored as (inputs, outputs)."""
    magnitude: str | None = None

    def stored(self, read: Read) -> LowRank:
        """Return scaling·B@A as the adapter stores it, (outputs × rank) @ (rank × inputs)."""
        return LowRank(read(self.up), read(self.down), self.scaling)

    def product(self, read: Read) -> LowRank:
        """Return scaling·B@A in the shape of the base's tensor."""
        pair = self.stored(read)
        return LowRank(pair.right.T, pair.left.T, pair.scaling) if self.is_fan_in else pair

    def operands(self, read: Read) -> tuple[Tensor, ...]:
        """Return the tensors that determine the change."""
        left, right, scaling = self.product(read)
        magnitude = () if self.magnitude is None else (read(self.magnitude),)
        return (left, right, torch.tensor(scaling), *magnitude)

    def misfit(self, shape: torch.Size, read: Read) -> torch.Size | None:
        """Return the shape of the change if it does not fit a tensor of `shape`."""
        down, up = read(self.down).shape, read(self.up).shape
        if len(down) != 2 or len(up) != 2 or down[0] != up[1]:
            return torch.Size((*up, *down))
        found = self.product(read).shape
        if found != shape:
            return found
        outputs = torch.Size((shape[1 if self.is_fan_in else 0],))
        magnitude = outputs if self.magnitude is None else read(self.magnitude).shape
        return None if magnitude == outputs else magnitude

    def applied(self, tensor: Tensor, read: Read) -> Tensor:
        """Return the changed tensor, fp32."""
        moved = self.product(read).added_to(tensor)
        if self.magnitude is None:
            return moved
        inputs = 0 if self.is_fan_in else 1
        norm = torch.linalg.norm(moved, dim=inputs)
        return moved * (read(self.magnitude).to(moved.device).float() / norm).unsqueeze(inputs)


@dataclass(frozen=True)
class ParameterPair:
    """A low-rank pair on a parameter itself, one for each expert if it holds several (PEFT's `target_parameters`).

    For the expert e, W'ₑ = Wₑ + s·BₑAₑ, transposed where the parameter is stored as (experts, inputs, outputs). The
    file holds the Aₑ below each other, and in B the columns of all experts alternate.
    """

    down: str
    """Shape (experts · rank, inputs)."""
    up: str
    """Shape (outputs, rank · experts)."""
    rank: int
    scaling: float
    is_fan_in: bool
    """Whether the experts' matrices are stored as (inputs, outputs)."""

    def operands(self, read: Read) -> tuple[Tensor, ...]:
        """Return the tensors that determine the change."""
        return (read(self.down), read(self.up), torch.tensor((self.scaling, self.rank)))

    def misfit(self, shape: torch.Size, read: Read) -> torch.Size | None:
        """Return the shape of the change if it does not fit a tensor of `shape`."""
        down, up = read(self.down).shape, read(self.up).shape
        found = torch.Size((*up, *down))
        if len(shape) not in (2, 3) or len(down) != 2 or len(up) != 2:
            return found
        experts = shape[0] if len(shape) == 3 else 1
        outputs, inputs = shape[:-3:-1] if self.is_fan_in and len(shape) == 3 else shape[-2:]
        return None if (down, up) == ((experts * self.rank, inputs), (outputs, self.rank * experts)) else found

    def applied(self, tensor: Tensor, read: Read) -> Tensor:
        """Return the changed tensor, fp32."""
        moved = tensor.to(torch.float32, copy=True)
        for expert, matrix in enumerate(moved if tensor.dim() == 3 else moved.unsqueeze(0)):
            matrix.add_(self.change_of(expert, tensor.shape, read, tensor.device))
        return moved

    def change_of(self, expert: int, shape: torch.Size, read: Read, device: torch.device) -> Tensor:
        """Return what is added to one expert's matrix of a parameter of `shape`, fp32."""
        experts = shape[0] if len(shape) == 3 else 1
        down, up = read(self.down), read(self.up)
        factors = up.view(up.shape[0], self.rank, experts)[..., expert], down.view(experts, self.rank, -1)[expert]
        left, right = (factor.to(device).float() for factor in factors)
        change = self.scaling * (left @ right)
        return change.T if self.is_fan_in and len(shape) == 3 else change


@dataclass(frozen=True)
class PartOfPair:
    """What a pair on a fused parameter adds to one of the stored tensors that the parameter is made of."""

    whole: ParameterPair
    fused: torch.Size
    """The shape of the parameter."""
    expert: int
    shape: torch.Size
    """The shape of the stored tensor."""
    strides: tuple[int, ...]
    """Where its elements lie in the expert's matrix, together with `offset`."""
    offset: int

    def operands(self, read: Read) -> tuple[Tensor, ...]:
        """Return the tensors that determine the change."""
        return (*self.whole.operands(read), torch.tensor((self.expert, *self.shape, *self.strides, self.offset)))

    def misfit(self, shape: torch.Size, read: Read) -> torch.Size | None:
        """Return the shape of the change if it does not fit a tensor of `shape`."""
        return self.whole.misfit(self.fused, read) or (None if shape == self.shape else self.shape)

    def applied(self, tensor: Tensor, read: Read) -> Tensor:
        """Return the changed tensor, fp32."""
        change = self.whole.change_of(self.expert, self.fused, read, tensor.device).contiguous()
        return tensor.float() + change.as_strided(self.shape, self.strides, self.offset)


def part_of(change: Change, fused: torch.Size, view: Tensor) -> PartOfPair | None:
    """Return what a change of a fused parameter does to a view of it; None if it cannot be divided in this way."""
    if not isinstance(change, ParameterPair) or len(fused) != 3:
        return None
    matrix = fused[1] * fused[2]
    expert, offset = divmod(int(view.storage_offset()), matrix)
    last = offset + sum((size - 1) * stride for size, stride in zip(view.shape, view.stride(), strict=True))
    return PartOfPair(change, fused, expert, view.shape, view.stride(), offset) if last < matrix else None


@dataclass(frozen=True)
class Shift:
    """A vector that is added to a bias (PEFT's `lora_bias`)."""

    key: str
    scaling: float

    def operands(self, read: Read) -> tuple[Tensor, ...]:
        """Return the tensors that determine the change."""
        return (read(self.key), torch.tensor(self.scaling))

    def misfit(self, shape: torch.Size, read: Read) -> torch.Size | None:
        """Return the shape of the change if it does not fit a tensor of `shape`."""
        found = read(self.key).shape
        return None if found == shape else found

    def applied(self, tensor: Tensor, read: Read) -> Tensor:
        """Return the changed tensor, fp32."""
        return tensor.float() + self.scaling * read(self.key).to(tensor.device).float()


@dataclass(frozen=True)
class Rows:
    """Rows of an embedding that replace the base's (PEFT's `trainable_token_indices`)."""

    key: str
    tokens: tuple[int, ...]

    def operands(self, read: Read) -> tuple[Tensor, ...]:
        """Return the tensors that determine the change."""
        return (read(self.key), torch.tensor(self.tokens))

    def misfit(self, shape: torch.Size, read: Read) -> torch.Size | None:
        """Return the shape of the change if it does not fit a tensor of `shape`."""
        found, least = read(self.key).shape, max(self.tokens, default=-1) + 1
        if found != (len(self.tokens), *shape[1:]):
            return torch.Size((found.numel(),))
        return None if least <= shape[0] else torch.Size((least, *shape[1:]))

    def applied(self, tensor: Tensor, read: Read) -> Tensor:
        """Return the changed tensor, fp32."""
        rows = read(self.key).to(tensor.device).float()
        return tensor.float().index_copy(0, torch.tensor(self.tokens, device=tensor.device), rows)


Change = Whole | Pair | ParameterPair | PartOfPair | Shift | Rows


def are_same(one: tuple[Change, ...], other: tuple[Change, ...], read: Read) -> bool:
    """Whether two lists of changes have the same effect, value by value."""
    if [type(change) for change in one] != [type(change) for change in other]:
        return False
    for first, second in zip(one, other, strict=True):
        mine, theirs = first.operands(read), second.operands(read)
        if len(mine) != len(theirs) or not all(map(torch.equal, mine, theirs)):
            return False
    return True


_PREFIX = "base_model.model."
_ROLES = {
    ".lora_A.weight": "A",
    ".lora_B.weight": "B",
    ".lora_embedding_A": "embedding A",
    ".lora_embedding_B": "embedding B",
    ".lora_B.bias": "bias",
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
}
"""The role of a tensor beside a layer, by the end of its key."""
_ROWS = ".token_adapter.trainable_tokens_delta"


class Layout:
    """The changes that an adapter makes to the parameters of the live model.

    Args:
        path: The adapter's file.
        keys: Those of its tensors.
        inventory: The tensors of the base's files. Adapters that were trained with transformers before version 5 call
            modules by their names, and have a pair for each tensor that is fused with others now.

    Raises:
        InputError: A tensor of the file has no place, or a place has no tensor.

    """

    def __init__(
        self,
        path: Path,
        keys: set[str],
        config: LoraConfig,
        architecture: Architecture,
        inventory: Inventory,
    ) -> None:
        self._path, self._config, self._architecture, self._inventory = path, config, architecture, inventory
        self._layers = {name.removesuffix(".weight") for name in inventory.parts if name.endswith(".weight")}
        """The stored parts that were linear layers before transformers fused them."""
        self._renamed = {
            stored.removesuffix(".weight"): live.removesuffix(".weight")
            for stored, live in inventory.parameters.items()
            if stored != live and stored.endswith(".weight")
        }
        self._pairs: dict[str, dict[str, str]] = {}
        self._rows: dict[str, str] = {}
        self._wholes: dict[str, str] = {}
        self._sort(keys)
        self._parameters = self._pairs_of_parameters()
        self._check_pairs()
        self._saved = self._saved_parameters()
        self._tokens = self._tokens_of_layers()
        self._check_wholes()

    def changes(self, read: Read) -> Iterator[tuple[tuple[str, ...], tuple[Change, ...]]]:
        """Yield the names of the parameters that share a tensor, and its changes if there are any.

        Raises:
            InputError: Parameters that share a tensor are changed in different ways.

        """
        own = self._own_changes()
        for module in sorted(self._layers & self._pairs.keys()):
            yield (f"{module}.weight",), own[f"{module}.weight"]
        for names in dict.fromkeys(self._architecture.parameters.values()):
            # Beside modules that are saved for training, PEFT loads a tensor into the base, for all that share it.
            loaded = {name: Whole(self._wholes[name]) for name in names if name in self._wholes.keys() - self._saved}
            under = tuple(loaded.values())[:1]
            found = {name: (*under, *own.get(name, ())) for name in names}
            for name in [*loaded][1:]:
                if not are_same(under, (loaded[name],), read):
                    self._refuse_tied(names[0], name)
            for name in names[1:]:
                if not are_same(found[names[0]], found[name], read):
                    self._refuse_tied(names[0], name)
            if found[names[0]]:
                yield names, found[names[0]]

    def _refuse_tied(self, one: str, other: str) -> NoReturn:
        raise InputError(
            f"{self._path}: gives {one} and {other} different values, but the base ties the head to the embedding, "
            "so both are one tensor; untie the base as docs/errors/adapter.md says and give that as BASE"
        )

    def _own_changes(self) -> dict[str, tuple[Change, ...]]:
        """Return the changes of each parameter, without those of the parameters tied to it."""
        found: dict[str, tuple[Change, ...]] = {name: (Whole(self._wholes[name]),) for name in self._saved}
        for module, roles in self._pairs.items():
            is_embedding = self._is_embedding(module)
            down, up = ("embedding A", "embedding B") if is_embedding else ("A", "B")
            scaling = self._scaling(module)
            pair = Pair(
                module=module,
                down=roles[down],
                up=roles[up],
                rank=self._rank(module),
                scaling=scaling,
                is_embedding=is_embedding,
                is_fan_in=module not in self._layers and self._architecture.is_fan_in(module),
                magnitude=roles.get("magnitude"),
            )
            found[f"{module}.weight"] = (pair,)
            if "bias" in roles:
                found[f"{module}.bias"] = (Shift(roles["bias"], scaling),)
        for name, roles in self._parameters.items():
            layer = self._architecture.modules[name.rpartition(".")[0]]
            found[name] = (
                ParameterPair(
                    down=roles["A"],
                    up=roles["B"],
                    rank=self._rank(name),
                    scaling=self._scaling(name),
                    is_fan_in=bool(getattr(layer, "is_transposed", False)),
                ),
            )
        for module, (key, tokens) in self._tokens.items():
            found[f"{module}.weight"] = (Rows(key, tokens),)
        return found

    def _rank(self, module: str) -> int:
        patterns = self._config.rank_pattern or {}
        return int(patterns.get(get_pattern_key([*patterns], module), self._config.r))

    def _scaling(self, module: str) -> float:
        patterns = self._config.alpha_pattern or {}
        alpha = patterns.get(get_pattern_key([*patterns], module), self._config.lora_alpha)
        rank = self._rank(module)
        return float(alpha / rank**0.5) if self._config.use_rslora else float(alpha / rank)

    def _sort(self, keys: set[str]) -> None:
        """Find what each key of the file belongs to."""
        for key in sorted(keys):
            if not key.startswith(_PREFIX):
                self._refuse_key(key)
            name = key.removeprefix(_PREFIX)
            end = next((end for end in _ROLES if name.endswith(end)), None)
            if end is not None:
                module = name.removesuffix(end)
                if module not in self._architecture.modules:
                    module = self._renamed.get(module, module)
                self._pairs.setdefault(module, {})[_ROLES[end]] = key
            elif name.endswith(_ROWS):
                self._rows[name.removesuffix(_ROWS)] = key
            else:
                self._wholes[name.replace(".token_adapter.base_layer.", ".").replace(".base_layer.", ".")] = key

    def _pairs_of_parameters(self) -> dict[str, dict[str, str]]:
        """Take the pairs of single parameters out of those of layers, by PEFT's own matching.

        PEFT wraps a module once for each of its parameters, the last one outermost, so that the pair of the first has
        one `base_layer` in its key for each later one.
        """
        ends = [*(self._config.target_parameters or ())]
        found: dict[str, dict[str, str]] = {}
        for module, layer in self._architecture.modules.items():
            names = [f"{module}.{name}" for name, _ in layer.named_parameters(recurse=False)]
            adapted = [name for name in names if name in ends or any(name.endswith(f".{end}") for end in ends)]
            for later, name in enumerate(reversed(adapted)):
                roles = self._pairs.pop(module + later * ".base_layer", {})
                for role in roles.keys() - {"A", "B"}:
                    self._refuse_key(roles[role])
                if len(roles) < 2:
                    raise InputError(
                        f"{self._path}: lacks the pair for {name}, which target_parameters of adapter_config.json "
                        "names; save the adapter again, or give the base that it was trained on"
                    )
                found[name] = roles
        if ends and not found:
            raise InputError(
                f"{self._path.parent / 'adapter_config.json'}: target_parameters names no parameter of the base; give "
                "the base that the adapter was trained on"
            )
        return found

    def _check_pairs(self) -> None:
        """Check that the layers with a pair are those that the configuration targets."""
        for module in self._pairs:
            if module not in self._architecture.modules and module not in self._layers:
                self._refuse_name(f"{module}.weight")
        targets = self._targets()
        for module in sorted(targets & {name.rpartition(".")[0] for name in self._parameters}):
            raise InputError(
                f"{self._path.parent / 'adapter_config.json'}: targets {module} both as a layer and by its parameter, "
                "which PEFT refuses; mend target_modules there"
            )
        for module in sorted(targets - self._pairs.keys()):
            raise InputError(
                f"{self._path}: lacks the pair for {module}, which adapter_config.json targets; save the adapter "
                "again, or give the base that it was trained on"
            )
        for module, roles in self._pairs.items():
            if module not in targets:
                raise InputError(
                    f"{self._path}: has a pair for {module}, which adapter_config.json does not target, so that PEFT "
                    "leaves it out; mend target_modules there"
                )
            is_embedding = self._is_embedding(module)
            if not is_embedding and not self._is_linear(module):
                kind = type(self._architecture.modules[module]).__name__
                raise InputError(
                    f"{self._path}: adapts {module}, a {kind}, expected a linear layer or an embedding; merge the "
                    "adapter into its base with merge_and_unload and give the merged model"
                )
            needed = {"embedding A", "embedding B"} if is_embedding else {"A", "B"}
            needed |= {"magnitude"} if self._config.use_dora else set()
            needed |= {"bias"} if self._config.lora_bias else set()
            if needed - roles.keys():
                raise InputError(
                    f"{self._path}: half of the adapter's pair for {module}.weight is missing; save the adapter again"
                )
            for role in roles.keys() - needed:
                self._refuse_key(roles[role])
            if "bias" in roles and f"{module}.bias" not in self._architecture.parameters:
                raise InputError(
                    f"{self._path}: has a bias for {module}, whose layer has none, so it cannot be merged; train the "
                    "adapter without lora_bias"
                )

    def _is_embedding(self, module: str) -> bool:
        return module not in self._layers and self._architecture.is_embedding(module)

    def _is_linear(self, module: str) -> bool:
        """Whether a module is a linear layer, or was one before transformers 5, as the routers of mixtures were."""
        if module in self._layers or self._architecture.is_linear(module):
            return True
        layer = self._architecture.modules[module]
        weight = dict(layer.named_parameters(recurse=False)).get("weight")
        return type(layer).__name__.endswith("Router") and weight is not None and weight.dim() == 2

    def _targets(self) -> set[str]:
        """Return the modules that the configuration targets, by PEFT's own matching."""
        config, model = self._config, self._architecture.model
        if config.target_modules is None:
            default: Any = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(model.config.model_type)
            config.target_modules = default
        try:
            if config.target_modules is not None:
                _maybe_include_all_linear_layers(config, model)
            # An adapter of transformers 5 has no pair for a single expert, whatever its patterns match.
            layers = self._layers if self._layers & self._pairs.keys() else set()
            targets = {
                name
                for name in [*self._architecture.modules, *layers]
                if name and config.target_modules is not None and check_target_module_exists(config, name)
            }
            for module in (*self._pairs, *self._parameters):
                self._scaling(module)
        except (re.error, TypeError, ValueError) as error:
            raise InputError(
                f"{self._path.parent / 'adapter_config.json'}: its patterns cannot be matched ({first_line(error)}); "
                "save the adapter again"
            ) from error
        if not targets and not self._parameters:
            raise InputError(
                f"{self._path.parent / 'adapter_config.json'}: targets no module of the base; give the base that the "
                "adapter was trained on"
            )
        embedding = self._architecture.embedding
        if config.ensure_weight_tying and embedding in targets:
            targets |= set(self._architecture.tied_modules(embedding))
        return targets

    def _saved_parameters(self) -> set[str]:
        """Return the parameters of the modules that PEFT saved whole, by its own matching."""
        ends, architecture = tuple(self._config.modules_to_save or ()), self._architecture
        modules = {name for name in architecture.modules if name and ends and name.endswith(ends)}
        if self._config.ensure_weight_tying and architecture.embedding in modules:
            modules |= set(architecture.tied_modules(architecture.embedding))
        found = {name for name in architecture.parameters for module in modules if name.startswith(f"{module}.")}
        for name in sorted(found - self._wholes.keys()):
            raise InputError(
                f"{self._path}: lacks {name}, which modules_to_save of adapter_config.json names; save the adapter "
                "again, or give the base that it was trained on"
            )
        return found

    def _tokens_of_layers(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the key and the tokens of each layer of which single rows were trained."""
        given, architecture = self._config.trainable_token_indices, self._architecture
        if given is None:
            for key in self._rows.values():
                self._refuse_key(key)
            return {}
        embedding = architecture.embedding or "embed_tokens"
        by_name = given if isinstance(given, dict) else {embedding: given}
        layers = {
            module: tuple(tokens)
            for end, tokens in by_name.items()
            for module in architecture.modules
            if module.endswith(end)
        }
        tied = architecture.tied_modules(embedding) if embedding in layers else ()
        found: dict[str, tuple[str, tuple[int, ...]]] = {}
        for module, tokens in layers.items():
            if module in tied and tokens == layers[embedding]:
                continue
            if module not in self._rows:
                raise InputError(
                    f"{self._path}: lacks the rows of {module}, which trainable_token_indices of adapter_config.json "
                    "names; save the adapter again, or give the base that it was trained on"
                )
            found[module] = (self._rows[module], tokens)
        for module in tied:
            if module not in found:
                found[module] = found[embedding]
        for module in self._rows.keys() - found.keys():
            self._refuse_key(self._rows[module])
        return found

    def _check_wholes(self) -> None:
        """Check that PEFT loads each tensor that is saved whole."""
        for name, key in self._wholes.items():
            if name not in self._architecture.parameters:
                self._refuse_name(name)
            module, _, leaf = name.rpartition(".")
            inside = ".base_layer" if module in self._pairs else ".token_adapter.base_layer"
            layer = module + inside if module in self._pairs or module in self._tokens else module
            if key != f"{_PREFIX}{layer}.{leaf}":
                self._refuse_key(key)

    def _refuse_name(self, name: str) -> NoReturn:
        if name in self._inventory.parts or name in self._inventory.parameters:
            raise InputError(
                f"{self._path}: adapts {name}, which transformers fuses with other tensors when it loads the base; "
                "merge the adapter into its base with merge_and_unload and give the merged model"
            )
        raise InputError(
            f"{self._path}: the adapter changes {name}, which the base does not have; "
            "give the base that the adapter was trained on"
        )

    def _refuse_key(self, key: str) -> NoReturn:
        raise InputError(
            f"{self._path}: holds {key}, for which PEFT has no place with this adapter_config.json; save the adapter "
            "again with save_pretrained"
        )
