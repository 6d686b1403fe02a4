"""The demo model, fetched and converted once on this machine, and a process of its own for vLLM."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from safescape.weights import Model, resolve


@pytest.fixture(scope="session")
def demo() -> Model:
    """SmolLM2-135M-Instruct with the safety adapter; read-only."""
    return resolve("demo")


@pytest.fixture(scope="module")
def apart() -> Iterator[ProcessPoolExecutor]:
    """One process that runs functions of the tests; vLLM changes threads and torch for its whole process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor
