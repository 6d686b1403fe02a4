"""The demo model, fetched and converted once on this machine."""

from __future__ import annotations

import pytest

from safescape.weights import Model, resolve


@pytest.fixture(scope="session")
def demo() -> Model:
    """SmolLM2-135M-Instruct with the safety adapter; read-only."""
    return resolve("demo")
