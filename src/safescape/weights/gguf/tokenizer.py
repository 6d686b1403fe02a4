"""The tokenizer and chat templates that a GGUF file's metadata describe, compared with them token by token.

transformers builds the tokenizer; what it leaves out is set here: how text is split before merging, BOS and EOS, the
space before a text, named chat templates, and control tokens whose text is not spelled in bytes. Tokens that the file
does not have are removed.
"""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING, Any

from safescape.errors import InputError, first_line
from safescape.weights.gguf.file import Gguf

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_KEY = "tokenizer.ggml."
_CONTROL, _USER_DEFINED = 3, 4
"""Types of tokens that are matched as a whole."""
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_DIGITS = [r"\p{N}", _GPT2]
_SPLITS: dict[str, list[str]] = {
    **{name: [] for name in ("default", "gpt-2", "phi-2", "olmo", "mpt", "jais")},
    **{name: _DIGITS for name in ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone")},
    **{name: [r" ?[^(\s|.,!?…。，、।۔،)]+"] for name in ("bloom", "poro-chat")},
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, r"[0-9][0-9][0-9]"],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, r"\p{N}"],
}
"""Expressions that split text one after the other, by the name in `tokenizer.ggml.pre`, as in llama.cpp's
`llama-vocab.cpp`; none is GPT-2's own splitting. transformers has the other names."""
_SAME_SPLIT = {"stablelm2": "qwen2"}
_TAKES_WORDS_WHOLE = {"llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "midm-2.0", "lfm2", "tekken"}
"""Here a word that is a token is taken before any merge, and BOS is added unless the metadata say otherwise."""


def end_tokens(gguf: Gguf) -> int | list[int] | None:
    """Return the tokens at which an answer ends: of a text, of a turn and of a message, as far as they are given."""
    found: list[int] = []
    for name in ("eos", "eot", "eom"):
        token = gguf.metadata.get(f"{_KEY}{name}_token_id")
        if isinstance(token, int) and token not in found:
            found.append(token)
    return found if len(found) > 1 else found[0] if found else None


def tokenizer_of(gguf: Gguf) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a GGUF file with its chat templates.

    Raises:
        InputError: transformers cannot build it, or a token, a special token or the splitting of text would be lost.

    """
    # Imported here because transformers loads slowly and few runs convert a file.
    from transformers import PreTrainedTokenizerFast

    tokens = _tokens(gguf)
    _check_merges(gguf, set(tokens))
    adds: dict[str, Any] = {f"add_{name}_token": True for name in ("bos", "eos") if _adds(gguf, name)}
    path = gguf.paths[0]
    try:
        found: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(
            path.parent, gguf_file=path.name, **adds
        )
    except (ValueError, TypeError, KeyError, IndexError, struct.error) as error:
        raise _refused(gguf, f"transformers cannot build it: {first_line(error)}") from error
    found = _of_these_tokens(found, gguf, tokens)
    _split_text(found, gguf)
    _set_space(found, gguf)
    _set_templates(found, gguf)
    _check(found, gguf, tokens)
    return found


def _tokens(gguf: Gguf) -> list[str]:
    tokens = gguf.metadata.get(f"{_KEY}tokens")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
        raise _refused(gguf, "the file has no tokens")
    rows = gguf.tensors["token_embd.weight"].shape[0]
    if len(tokens) > rows:
        raise _refused(gguf, f"it has {len(tokens)} tokens, and the embedding {rows} rows")
    return [str(token) for token in tokens]


def _check_merges(gguf: Gguf, tokens: set[str]) -> None:
    merges = gguf.metadata.get(f"{_KEY}merges", [])
    if not isinstance(merges, list):
        raise _refused(gguf, "its merges are no list")
    for merge in merges:
        left, _, right = str(merge).partition(" ")
        if not left or not right or " " in right or not {left, right, left + right} <= tokens:
            raise _refused(gguf, f"the merge {merge!r} is not of two tokens into a third")


def _adds(gguf: Gguf, name: str) -> bool:
    """Return whether BOS or EOS is put around every text: as the metadata say, else as llama.cpp does."""
    given = gguf.metadata.get(f"{_KEY}add_{name}_token")
    if given is None and name == "bos":
        return gguf.metadata.get(f"{_KEY}model") == "llama" or gguf.metadata.get(f"{_KEY}pre") in _TAKES_WORDS_WHOLE
    return bool(given)


def _split_text(found: PreTrainedTokenizerFast, gguf: Gguf) -> None:
    """Split text into words as the metadata name it."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    if gguf.metadata.get(f"{_KEY}model") != "gpt2":
        return
    name = str(gguf.metadata.get(f"{_KEY}pre", "default"))
    if name in _TAKES_WORDS_WHOLE:
        found.backend_tokenizer.model.ignore_merges = True
    if name in GGUF_PRE_TOKENIZER_SPLITS:
        return
    if name in _SAME_SPLIT:
        expressions = [GGUF_PRE_TOKENIZER_SPLITS[_SAME_SPLIT[name]]]
    elif name in _SPLITS:
        expressions = _SPLITS[name]
    else:
        raise _refused(gguf, f"its way to split text, {name}, is not known")
    if expressions:
        splits = [Split(Regex(expression), behavior="isolated") for expression in expressions]
        found.backend_tokenizer.pre_tokenizer = Sequence([*splits, ByteLevel(add_prefix_space=False, use_regex=False)])


def _set_space(found: PreTrainedTokenizerFast, gguf: Gguf) -> None:
    """Put no space before a text where the metadata say so; transformers always puts one for Llama's kind."""
    from tokenizers import decoders
    from tokenizers.pre_tokenizers import Metaspace

    backend = found.backend_tokenizer
    if gguf.metadata.get(f"{_KEY}add_space_prefix") is not False or not isinstance(backend.pre_tokenizer, Metaspace):
        return
    backend.pre_tokenizer = Metaspace(replacement="▁", prepend_scheme="never", split=False)
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])


def _set_templates(found: PreTrainedTokenizerFast, gguf: Gguf) -> None:
    """Keep named chat templates beside the default one."""
    prefix = "tokenizer.chat_template."
    named = {key.removeprefix(prefix): str(value) for key, value in gguf.metadata.items() if key.startswith(prefix)}
    if isinstance(default := gguf.metadata.get("tokenizer.chat_template"), str):
        named["default"] = default
    if named.keys() - {"default"}:
        found.chat_template = named


def _of_these_tokens(found: PreTrainedTokenizerFast, gguf: Gguf, tokens: list[str]) -> PreTrainedTokenizerFast:
    """Return the tokenizer with the file's tokens only, as they are spelled and matched.

    transformers adds GPT-2's `<|endoftext|>`, for which a model may have no row, and spells control tokens such as
    `<｜User｜>` in bytes, so that they are cut into pieces. Phi-3's control tokens take the space after them, which
    llama.cpp knows by the model's name.
    """
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    backend = found.backend_tokenizer
    state = json.loads(backend.to_str())
    before = json.dumps(state)
    kinds = _whole_tokens(gguf, tokens)
    respelled: dict[str, str] = {}
    if gguf.metadata.get(f"{_KEY}model") == "gpt2":
        state["added_tokens"] = [added for added in state["added_tokens"] if added["id"] < len(tokens)]
        spelled = {token: backend.id_to_token(number) for number, token in kinds.items() if token.strip()}
        respelled = {token: there for token, there in spelled.items() if there not in {token, None}}
        for token, there in respelled.items():
            state["model"]["vocab"][token] = state["model"]["vocab"].pop(there)
    elif gguf.architecture == "phi3" and re.search(r"phi-?3", str(gguf.metadata.get("general.name")), re.IGNORECASE):
        for added in state["added_tokens"]:
            added["rstrip"] = added["content"] not in {"<unk>", "<s>", "<|endoftext|>"}
    if json.dumps(state) == before:
        return found
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        chat_template=found.chat_template,
        add_bos_token=found.add_bos_token,
        add_eos_token=found.add_eos_token,
        **{name: getattr(found, name) for name in ("bos_token", "eos_token", "unk_token", "pad_token")},
    )
    types = gguf.metadata.get(f"{_KEY}token_type")
    for number, token in kinds.items():
        if token in respelled:
            special = isinstance(types, list) and types[number] == _CONTROL
            made.add_tokens([AddedToken(token, normalized=False, special=special)], special_tokens=special)
    return made


def _whole_tokens(gguf: Gguf, tokens: list[str]) -> dict[int, str]:
    """Return the tokens that are matched as a whole, by their numbers."""
    types = gguf.metadata.get(f"{_KEY}token_type", [])
    if not isinstance(types, list) or len(types) not in {0, len(tokens)}:
        raise _refused(gguf, "it has another number of types than of tokens")
    return {number: tokens[number] for number, kind in enumerate(types) if kind in {_CONTROL, _USER_DEFINED}}


def _check(found: PreTrainedTokenizerFast, gguf: Gguf, tokens: list[str]) -> None:
    """Raise InputError unless every token has its number, and control tokens are matched as a whole."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    backend = found.backend_tokenizer
    letters = bytes_to_unicode()
    for number, token in enumerate(tokens):
        there = backend.id_to_token(number)
        same = {token, token.replace(" ", "▁"), "".join(letters[byte] for byte in token.encode())}
        if there not in same:
            raise _refused(gguf, f"its token {number} {token!r} would be {there!r}")
    if backend.get_vocab_size() > len(tokens):
        raise _refused(gguf, f"it would have {backend.get_vocab_size()} tokens instead of {len(tokens)}")
    whole = {number: token for number, token in _whole_tokens(gguf, tokens).items() if token.strip()}
    texts = backend.encode_batch(list(whole.values()), add_special_tokens=False)
    for number, encoded in zip(whole, texts, strict=True):
        if encoded.ids != [number]:
            raise _refused(gguf, f"its token {number} {whole[number]!r} would be cut into {encoded.tokens}")
    for name, key in {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}.items():
        given: Any = gguf.metadata.get(f"{_KEY}{key}_token_id")
        if given is not None and getattr(found, f"{name}_token_id") != given:
            raise _refused(gguf, f"its {name} token is {given} and would be {getattr(found, f'{name}_token_id')}")


def _refused(gguf: Gguf, reason: str) -> InputError:
    return InputError(
        f"{gguf.paths[0]}: its tokenizer cannot be converted exactly ({reason}); give its safetensors version"
    )
