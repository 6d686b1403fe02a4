"""What a GGUF file holds: its metadata, and its tensors as they lie on disk, all parts of a split file together.

The header is read here because gguf-py's `GGUFReader` makes an object of every token: it takes half a minute for a
vocabulary of 150,000. The values of tensors come from gguf-py's own dequantisation.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import mmap
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

from safescape.errors import InputError

Value: TypeAlias = int | float | bool | str | list[int] | list[float] | list[str]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The struct format of each type of value; 8 is a string and 9 an array."""
_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.gguf)", re.IGNORECASE)
_ROW = 8192
"""Elements dequantised as one row: gguf-py takes 16 rows at a time, and short rows cost it most of its time."""


class Stored(NamedTuple):
    """A tensor as it lies in the file."""

    shape: tuple[int, ...]
    """In torch's order, the last dimension contiguous."""
    kind: GGMLQuantizationType
    data: npt.NDArray[np.uint8]
    """Its bytes, memory-mapped."""

    def values(self, index: int | None = None) -> npt.NDArray[np.float32]:
        """Return the dequantised tensor, or its slice `index` along the first dimension."""
        shape = self.shape if index is None else self.shape[1:]
        block, size = GGML_QUANT_SIZES[self.kind]
        length = math.prod(shape) // block * size
        data = self.data if index is None else self.data[index * length : (index + 1) * length]
        # Blocks do not know of rows, so that the rows may have any length.
        elements = _ROW if math.prod(shape) % _ROW == 0 else shape[-1]
        found: npt.NDArray[np.float32] = dequantize(data.reshape(-1, elements // block * size), self.kind)
        return found.reshape(shape)


class Gguf(NamedTuple):
    """A GGUF model on disk."""

    paths: tuple[Path, ...]
    """The file, or all parts of a split one in order."""
    metadata: Mapping[str, Value]
    tensors: Mapping[str, Stored]

    @property
    def architecture(self) -> str:
        """The name of the architecture in llama.cpp, such as `qwen2moe`."""
        return str(self.metadata.get("general.architecture", ""))

    def digest(self) -> str:
        """Return the SHA-256 of all parts, one after the other."""
        found = hashlib.sha256()
        for path in self.paths:
            with path.open("rb") as file:
                while chunk := file.read(1 << 22):
                    found.update(chunk)
        return found.hexdigest()


def read_gguf(path: Path) -> Gguf:
    """Return what a GGUF file holds; for any part of a split file, what all its parts hold.

    Raises:
        InputError: A file is absent, cut short, no GGUF file, or one part of a split file whose other parts are absent.

    """
    first = _read_one(path)
    count = first.metadata.get("split.count", 1)
    if not isinstance(count, int) or count < 2:
        _check_types(first)
        return first
    named = _PART.fullmatch(path.name)
    if named is None or int(named["count"]) != count:
        raise InputError(
            f"{path}: is one of {count} parts of a split GGUF under another name; rename all parts to the names that "
            f"they were published with, such as NAME-00001-of-{count:05}.gguf"
        )
    paths = [
        path.with_name(f"{named['stem']}-{number:05}-of-{count:05}{named['suffix']}") for number in range(1, count + 1)
    ]
    for sibling in paths:
        if not sibling.is_file():
            raise InputError(f"{path}: a part of this split GGUF is missing; put {sibling.name} beside it")
    parts = [_read_one(sibling) for sibling in paths]
    tensors: dict[str, Stored] = {}
    for number, part in enumerate(parts):
        if (part.metadata.get("split.no"), part.metadata.get("split.count")) != (number, count):
            raise InputError(f"{paths[number]}: is not part {number + 1} of {count} of this GGUF; download it again")
        if twice := tensors.keys() & part.tensors.keys():
            raise InputError(f"{paths[number]}: has {min(twice)}, as another part has; download all parts again")
        tensors |= part.tensors
    expected = parts[0].metadata.get("split.tensors.count", len(tensors))
    if len(tensors) != expected:
        raise InputError(f"{path}: its parts have {len(tensors)} tensors of {expected}; download all parts again")
    joined = Gguf(tuple(paths), parts[0].metadata, tensors)
    _check_types(joined)
    return joined


def _read_one(path: Path) -> Gguf:
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the path of a .gguf file")
    try:
        with path.open("rb") as file, contextlib.closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as blob:
            metadata, table, start = _Header(blob).read()
            size = len(blob)
    except (ValueError, OverflowError, struct.error) as error:
        reason = "its header ends too early" if isinstance(error, struct.error) else error
        raise InputError(f"{path}: cut short or not a GGUF file ({reason}); download it again") from error
    blob_of = np.memmap(path, mode="r", dtype=np.uint8)
    tensors: dict[str, Stored] = {}
    for name, (shape, kind, offset) in table.items():
        block, type_size = GGML_QUANT_SIZES[kind]
        if not shape or min(shape) < 1 or shape[-1] % block:
            raise InputError(f"{path}: {name} has the shape {list(shape)} in blocks of {block}; download it again")
        length = math.prod(shape) // block * type_size
        if start + offset + length > size:
            raise InputError(f"{path}: cut short in {name}; download it again")
        tensors[name] = Stored(shape, kind, blob_of[start + offset : start + offset + length])
    if not tensors and "split.count" not in metadata:
        raise InputError(f"{path}: cut short, or without tensors; download it again")
    return Gguf((path,), metadata, tensors)


def _check_types(gguf: Gguf) -> None:
    """Raise InputError for a tensor of a type that gguf-py does not dequantise."""
    for name, tensor in gguf.tensors.items():
        block, size = GGML_QUANT_SIZES[tensor.kind]
        try:
            dequantize(np.zeros((1, size * (256 // block)), np.uint8), tensor.kind)
        except NotImplementedError as error:
            raise InputError(
                f"{gguf.paths[0]}: {name} is of type {tensor.kind.name}, which gguf-py does not dequantise; give a "
                "file in another type, or the safetensors version"
            ) from error


class _Header:
    """Reads the header of a GGUF file from its start.

    Every method raises ValueError or struct.error if the bytes do not hold what they should.
    """

    def __init__(self, blob: mmap.mmap) -> None:
        self.blob = blob
        self.at = 0

    def read(self) -> tuple[dict[str, Value], dict[str, tuple[tuple[int, ...], GGMLQuantizationType, int]], int]:
        """Return the metadata, shape, type and offset of each tensor, and where the data starts."""
        if self.blob[:4] != _MAGIC:
            raise ValueError("its first four bytes are not GGUF")
        self.at = 4
        version = self.number("I")
        if version not in _VERSIONS:
            raise ValueError(f"version {version} of the format, or of the other byte order; expected 2 or 3")
        tensor_count, value_count = self.number("Q"), self.number("Q")
        metadata: dict[str, Value] = {}
        for _ in range(value_count):
            key = self.string()
            if key in metadata:
                raise ValueError(f"{key} is there twice")
            metadata[key] = self.value(self.number("I"))
        table: dict[str, tuple[tuple[int, ...], GGMLQuantizationType, int]] = {}
        for _ in range(tensor_count):
            name = self.string()
            if name in table:
                raise ValueError(f"{name} is there twice")
            shape = tuple(self.number("Q") for _ in range(self.number("I")))[::-1]
            table[name] = (shape, GGMLQuantizationType(self.number("I")), self.number("Q"))
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise ValueError(f"an alignment of {alignment}")
        return metadata, table, -(-self.at // alignment) * alignment

    def number(self, kind: str) -> int:
        (found,) = struct.unpack_from(f"<{kind}", self.blob, self.at)
        self.at += struct.calcsize(kind)
        return int(found)

    def string(self) -> str:
        length = self.number("Q")
        if self.at + length > len(self.blob):
            raise ValueError("it ends within a name")
        self.at += length
        return self.blob[self.at - length : self.at].decode()

    def value(self, kind: int) -> Value:
        if kind == 8:
            return self.string()
        if kind != 9:
            return self.scalars(kind, 1)[0]
        inner, count = self.number("I"), self.number("Q")
        return [self.string() for _ in range(count)] if inner == 8 else self.scalars(inner, count)

    def scalars(self, kind: int, count: int) -> list[Any]:
        if kind not in _SCALARS:
            raise ValueError(f"a value of the unknown type {kind}")
        layout = f"<{count}{_SCALARS[kind]}"
        found = struct.unpack_from(layout, self.blob, self.at)
        self.at += struct.calcsize(layout)
        return list(found)
