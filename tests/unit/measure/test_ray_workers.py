"""Workers on a Ray cluster reserve what a survey's engine uses."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from helpers.surveys import make_survey
from safescape.measure import ray_workers
from safescape.placement import Placement
from safescape.placement.ray_cluster import Reservation


@pytest.mark.parametrize("tensor_parallel", [1, 2])
def test_each_worker_reserves_the_gpus_that_share_its_model(
    tensor_parallel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A survey that is run again from its file names no --gpus-per-worker."""
    reserved: list[float] = []

    class StopError(Exception):
        pass

    def reserve(placement: Placement, device: str, *, tensor_parallel: int, on_wait: object) -> Reservation:
        reserved.append(placement.gpus_on(device, tensor_parallel))
        raise StopError

    monkeypatch.setattr(ray_workers, "connected", lambda placement: contextlib.nullcontext())
    monkeypatch.setattr(ray_workers, "reserve", reserve)
    survey = make_survey().model_copy(update={"device": "cuda", "engine": "vllm", "tensor_parallel": tensor_parallel})
    with (
        pytest.raises(StopError),
        ray_workers.ray_workers(survey, None, Path(), Placement(2), [], print),  # type: ignore[arg-type]
    ):
        pass
    assert reserved == [float(tensor_parallel)]
