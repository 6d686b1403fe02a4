"""What every part of a survey is: a record that never changes and says where it differs from another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from pydantic import BaseModel, ConfigDict

__all__ = ["Frozen"]


class Frozen(BaseModel):
    """A specification: it never changes, and knows no field that it was not made for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def differences(self, other: Self) -> list[str]:
        """Name each field that differs, with both values shortened, for a refusal that the user can act on."""
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
