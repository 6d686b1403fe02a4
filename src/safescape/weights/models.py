"""From what the user typed to a model on this disk: where its files lie, and its weights."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from safescape.errors import InputError
from safescape.weights import demo
from safescape.weights.checkpoint import Adapted, Checkpoint, Weights
from safescape.weights.fingerprint import inspect
from safescape.weights.gguf import converted

__all__ = ["Model", "adapter_directory", "identity", "resolve"]

_EXPECTED = "expected a Hub id, a directory, a .gguf file, BASE+ADAPTER, demo or demo-base"
_WANTED_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt", "*.py")


class Model(NamedTuple):
    """A model on this disk."""

    name: str
    """As the user typed it."""
    directory: Path
    """Holds config, tokenizer and chat template; of the base, if there is an adapter."""
    weights: Weights


def resolve(name: str) -> Model:
    """Find a model, fetching or converting it if need be; no tensor is read yet.

    Args:
        name: A Hub id (`owner/model` or `owner/model@revision`), a directory, a `.gguf` file, `BASE+ADAPTER`
            (a PEFT LoRA on any of the others), `demo`, or `demo-base` (the demo without its safety adapter).

    Raises:
        InputError: it does not exist, is incomplete, pickled or quantised; the message says what to type.

    """
    if not name:
        raise InputError(f"MODEL is empty; {_EXPECTED}")
    if "+" in name and not Path(name).exists():
        base, _, adapter = name.rpartition("+")
        under = resolve(base)
        return Model(name, under.directory, Adapted(under.weights, adapter_directory(adapter)))
    if name == "demo":
        under = resolve("demo-base")
        return Model(name, under.directory, Adapted(under.weights, demo.adapter_directory()))
    if name == "demo-base":
        directory = demo.base_directory()
    elif name.endswith(".gguf"):
        directory = converted(Path(name))
    elif Path(name).is_dir():
        directory = Path(name)
    else:
        directory = _from_hub(name)
    _check_config(directory)
    return Model(name, directory, Checkpoint(directory))


def adapter_directory(name: str) -> Path:
    """Return where an adapter lies, given as a directory or a Hub id."""
    return Path(name) if Path(name).is_dir() else _from_hub(name)


def identity(model: Model) -> dict[str, str]:
    """Return which weights a model has, for the record: its name, and the Hub's revision or else their fingerprint.

    Raises:
        InputError: a tensor holds NaN or infinity.

    """
    if model.directory.parent.name == "snapshots" and isinstance(model.weights, Checkpoint):
        return {"model": model.name, "revision": model.directory.name}
    return {"model": model.name, "fingerprint": inspect(model.weights)}


def _from_hub(name: str) -> Path:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name) or name.startswith((".", "/")):
        raise InputError(f"{name}: no such model here; {_EXPECTED}")
    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(_WANTED_FILES)))
    except GatedRepoError as error:
        raise InputError(
            f"{name}: its owner asks for a login; accept the terms on the Hub, then `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(f"{name}: not on this disk and not on the Hub; {_EXPECTED}") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{name}: not on this disk, and the Hub cannot be reached ({reason}); {_EXPECTED}") from error


def _check_config(directory: Path) -> None:
    path = directory / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        if (directory / "adapter_config.json").is_file():
            raise InputError(
                f"{directory}: is an adapter; give BASE+{directory}, with the base it was trained on"
            ) from error
        raise InputError(f"{directory}: no config.json in it; give a directory saved with save_pretrained") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); download the model again") from error
    if config.get("quantization_config"):
        raise InputError(
            f"{directory}: its weights are quantised and cannot be moved; give the unquantised model or a GGUF"
        )
