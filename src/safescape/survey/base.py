"""The base class of every part of a survey: an immutable record that lists its differences from another one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable specification; unknown fields are refused when it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def differences(self, other: Self) -> list[str]:
        """Return one text for each field that differs, with both values truncated, for an error message."""
        return list(_differences("", self.model_dump(mode="json"), other.model_dump(mode="json")))


def _differences(name: str, mine: object, theirs: object) -> Iterator[str]:
    if mine == theirs:
        return
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in {**mine, **theirs}:
            yield from _differences(f"{name}.{key}".lstrip("."), mine.get(key), theirs.get(key))
    elif isinstance(mine, list) and isinstance(theirs, list):
        if len(mine) != len(theirs):
            yield f"{name}: {len(mine)} here, {len(theirs)} there"
            return
        changed = [place for place, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b]
        yield from _differences(f"{name}[{changed[0]}]", mine[changed[0]], theirs[changed[0]])
    else:
        yield f"{name}: {_short(mine)} here, {_short(theirs)} there"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
