"""Model names as the user types them, resolved to a directory and weights on this disk."""

from __future__ import annotations

import json
import logging
import re
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from safescape.errors import InputError, first_line
from safescape.weights.checkpoint import Checkpoint, fingerprint_of_finite, inspect
from safescape.weights.gguf.conversion import converted, demo_base
from safescape.weights.lora import Adapted
from safescape.weights.quantised.conversion import dequantised, is_dequantisable
from safescape.weights.quantised.recognition import quantised_format

_EXPECTED = "expected a Hub id, a directory, a .gguf file, BASE+ADAPTER, demo or demo-base"
_DOWNLOADED_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt", "*.py")
DEMO_ADAPTER = Path(str(resources.files("safescape") / "data" / "demo-adapter"))
"""The safety adapter of the demo, which ships in this package."""

_log = logging.getLogger(__name__)


class Model(NamedTuple):
    """A model on this disk."""

    name: str
    """The name as the user typed it."""
    directory: Path
    """Contains the configuration, tokenizer and chat template: the base's directory, if there is an adapter."""
    weights: Checkpoint | Adapted
    adapters: tuple[Path, ...] = ()
    """Directories of its adapters, the innermost first. Each may hold a tokenizer or a chat template of its own."""


def resolve(name: str, *, trust_remote_code: bool = False) -> Model:
    """Find a model, downloading or converting it if necessary; no tensor is read yet.

    Args:
        name: A Hub id (`owner/model` or `owner/model@revision`), a directory, a `.gguf` file, `BASE+ADAPTER`
            (a PEFT LoRA on any of the others), `demo`, or `demo-base` (the demo without its safety adapter).
        trust_remote_code: Whether the model's own code may run to find out what its parameters are.

    Raises:
        InputError: The model does not exist, or it is incomplete or pickled, or its weights are
            quantised in a way that cannot be undone exactly.

    """
    if not name:
        raise InputError(f"MODEL is empty; {_EXPECTED}")
    if "+" in name and not Path(name).exists():
        base, _, adapter = name.rpartition("+")
        under = resolve(base, trust_remote_code=trust_remote_code)
        directory = adapter_directory(adapter)
        return Model(name, under.directory, Adapted(under.weights, directory), (*under.adapters, directory))
    if name == "demo":
        under = resolve("demo-base")
        return Model(name, under.directory, Adapted(under.weights, DEMO_ADAPTER), (DEMO_ADAPTER,))
    if name == "demo-base":
        directory = demo_base()
    elif name.lower().endswith(".gguf"):
        directory = converted(Path(name))
    elif Path(name).is_dir():
        directory = Path(name)
    else:
        directory = _from_hub(name)
    config = _config_of(directory)
    weights = Checkpoint(directory, name, trust_remote_code=trust_remote_code)
    if is_dequantisable(config):
        directory = dequantised(weights, config, name, trust_remote_code=trust_remote_code)
        return Model(name, directory, Checkpoint(directory, name, trust_remote_code=trust_remote_code))
    if found := quantised_format(config, weights.stored):
        raise InputError(
            f"{name}: its weights are quantised ({found}) and cannot be moved; give the unquantised model or a GGUF"
        )
    return Model(name, directory, weights)


def adapter_directory(name: str) -> Path:
    """Return the directory of an adapter that is given as a directory or a Hub id."""
    return Path(name) if Path(name).is_dir() else _from_hub(name)


def checkpoint_of(weights: Checkpoint | Adapted) -> Checkpoint:
    """Return the checkpoint below all adapters."""
    while isinstance(weights, Adapted):
        weights = weights.base
    return weights


def identity(model: Model) -> dict[str, str]:
    """Return what identifies a model's weights: its name, and the Hub's revision or else their fingerprint.

    Raises:
        InputError: A tensor contains NaN or infinity.

    """
    if model.directory.parent.name == "snapshots" and isinstance(model.weights, Checkpoint):
        return {"model": model.name, "revision": model.directory.name}
    if isinstance(model.weights, Checkpoint):
        # It may be a classifier, so all tensors of its files count and not only those of a causal language model.
        return {"model": model.name, "fingerprint": fingerprint_of_finite(model.weights, model.weights.stored)}
    return {"model": model.name, "fingerprint": inspect(model.weights)}


def _from_hub(name: str) -> Path:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name) or name.startswith((".", "/")):
        raise InputError(f"{name}: no such model here; {_EXPECTED}")
    repository, _, revision = name.partition("@")
    _log.info("looking up %s in the Hub's cache or on the Hub", name)
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(_DOWNLOADED_FILES)))
    except GatedRepoError as error:
        raise InputError(
            f"{name}: its owner asks for a login; accept the terms on the Hub, then `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(f"{name}: not on this disk and not on the Hub; {_EXPECTED}") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise InputError(
            f"{name}: not on this disk, and the Hub cannot be reached ({first_line(error)}); {_EXPECTED}"
        ) from error


def _config_of(directory: Path) -> dict[str, Any]:
    path = directory / "config.json"
    if not path.exists() and (directory / "adapter_config.json").is_file():
        raise InputError(f"{directory}: is an adapter; give BASE+{directory}, with the base it was trained on")
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{directory}: no config.json in it; give a directory saved with save_pretrained") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({error}); download the model again") from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: is not a JSON object; download the model again")
    return config
