"""Fixtures for the engines."""

from __future__ import annotations

from typing import Any

import pytest

from safescape.engines import decoding
from safescape.engines.kv_cache import Caching


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Caching, set[int]]]:
    """How each decoded batch uses the cache, and the lengths of its prompts."""
    found: list[tuple[Caching, set[int]]] = []
    opened = decoding.batch_of

    def batch_of(model: Any, caching: Any, prompts: Any, *given: Any) -> Any:
        found.append((caching, {len(prompt) for prompt in prompts}))
        return opened(model, caching, prompts, *given)

    monkeypatch.setattr(decoding, "batch_of", batch_of)
    return found
