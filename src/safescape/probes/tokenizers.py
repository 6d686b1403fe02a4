"""Loading a tokenizer with its chat template: that of a model, or what an adapter or a finetune has of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from safescape.errors import InputError, first_line
from safescape.probes.rows import read_text

_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
"""Files that hold a vocabulary; a directory without one cannot tokenise by itself."""


def has_tokenizer(directory: Path) -> bool:
    """Return whether a directory holds a tokenizer, or a chat template for another one."""
    return _has_vocabulary(directory) or bool(_template_in(directory))


def load_tokenizer(
    directory: Path,
    *,
    chat_template: str | None,
    trust_remote_code: bool,
    template_name: str | None = None,
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model's directory; `chat_template` (Jinja) replaces its own template.

    Args:
        directory: The model's.
        chat_template: A Jinja template used instead of its own.
        trust_remote_code: Allow the tokenizer to run its own code.
        template_name: Name of the template to use, of several.

    Raises:
        InputError: the tokenizer cannot be loaded, or has no chat template and none was given, or not that one.

    """
    tokenizer = open_tokenizer(directory, trust_remote_code=trust_remote_code)
    choose_template(tokenizer, directory, chat_template, template_name)
    return tokenizer


def open_tokenizer(
    directory: Path, *, trust_remote_code: bool, under: PreTrainedTokenizerBase | None = None
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a directory, which may have no chat template.

    Args:
        directory: A model's, or an adapter's.
        trust_remote_code: Allow the tokenizer to run its own code.
        under: The tokenizer of the model below an adapter or finetune, for what the directory lacks: the vocabulary, or
            the chat template.

    Raises:
        InputError: it cannot be loaded.

    """
    where = Path(under.name_or_path) if under is not None and not _has_vocabulary(directory) else directory
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(where, trust_remote_code=trust_remote_code)
        # a field of the wrong type shows when a text is read
        tokenizer.decode(tokenizer("a", verbose=False)["input_ids"], skip_special_tokens=True)
    except Exception as error:
        # the tokenizers library raises Exception itself, and transformers what a damaged file makes Python raise
        raise InputError(f"{where}: its tokenizer cannot be loaded ({first_line(error)}); {_advice(error)}") from error
    if where != directory:
        tokenizer.chat_template = _template_in(directory)
    if under is not None and not tokenizer.chat_template:
        tokenizer.chat_template = under.chat_template
    _add_bos_as_configured(tokenizer, where)
    return tokenizer


def _advice(error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return "only scan, path and check run a model's own code: read it, then give them --trust-remote-code"
    if isinstance(error, ImportError):
        return "install the library that it names"
    return "copy its tokenizer's files from the model that it was made from, or download the model again"


def _has_vocabulary(directory: Path) -> bool:
    own = (*directory.glob("*.tiktoken"), *directory.glob("tokenization_*.py"))
    return bool(own) or any((directory / name).is_file() for name in _VOCABULARIES)


def _template_in(directory: Path) -> str | dict[str, str] | None:
    """Return the chat template, or several by name, among the files of a directory without a vocabulary."""
    if (directory / "chat_template.jinja").is_file():
        return read_text(directory / "chat_template.jinja", str(directory / "chat_template.jinja"))
    for name in ("chat_template.json", "tokenizer_config.json"):
        template = _json_in(directory / name).get("chat_template")
        if isinstance(template, str):
            return template
        if isinstance(template, list) and all(isinstance(each, dict) for each in template):
            return {str(each.get("name")): str(each.get("template")) for each in template}
    return None


def _json_in(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(read_text(path, str(path)))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({error}); download the model again") from error
    return found if isinstance(found, dict) else {}


def _add_bos_as_configured(tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Let a tokenizer begin raw texts with BOS if its configuration says so.

    transformers leaves the flag aside where tokenizer.json has a post-processor of its own.
    """
    if (
        _json_in(directory / "tokenizer_config.json").get("add_bos_token") is True
        and tokenizer.bos_token_id is not None
        and hasattr(type(tokenizer), "update_post_processor")
        and tokenizer("a")["input_ids"][:1] != [tokenizer.bos_token_id]
    ):
        tokenizer.add_bos_token = True


def choose_template(
    tokenizer: PreTrainedTokenizerBase, directory: Path, chat_template: str | None, name: str | None
) -> None:
    """Give a tokenizer the chat template `chat_template`, or the one of its own with this name; check that it has one.

    Raises:
        InputError: there is none, or none of this name.

    """
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    template = tokenizer.chat_template
    if not template:
        raise InputError(f"{directory}: its tokenizer has no chat template; give one with --chat-template FILE (Jinja)")
    names = ", ".join(sorted(template)) if isinstance(template, dict) else ""
    if name is not None:
        if not names:
            raise InputError(
                f"--chat-template-name {name}: the tokenizer of {directory} has one chat template, without a name; "
                "leave it out"
            )
        if name not in template:
            raise InputError(f"--chat-template-name {name}: the tokenizer of {directory} has the templates {names}")
        tokenizer.chat_template = template[name]
    elif names and "default" not in template:
        raise InputError(
            f"{directory}: its tokenizer has several chat templates and none is the default; choose one with "
            f"--chat-template-name: {names}"
        )
