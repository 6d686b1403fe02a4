"""A module that holds a user's judges, as `--judge their_judges:NAME` imports it."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager


class JudgeModule(types.ModuleType):
    """A module whose attributes tests assign."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)


@contextmanager
def judge_module() -> Iterator[JudgeModule]:
    """Make an empty module `their_judges` importable for as long as the context lasts."""
    module = JudgeModule("their_judges")
    sys.modules[module.__name__] = module
    try:
        yield module
    finally:
        del sys.modules[module.__name__]
