"""Placement: how many GPUs a worker reserves, and what is refused before anything is started."""

from __future__ import annotations

import pytest

from safescape import InputError
from safescape.placement import LOCAL, Placement, check_gpus, check_placement


@pytest.mark.parametrize(
    ("given", "device", "tensor_parallel", "gpus"),
    [
        (None, "cpu", 1, 0.0),
        (None, "cuda", 1, 1.0),
        (None, "cuda", 2, 2.0),
        (None, "cpu", 2, 0.0),
        (0.5, "cuda", 1, 0.5),
        (4.0, "cuda", 2, 4.0),
    ],
)
def test_a_worker_reserves_what_is_given_else_what_its_engine_uses(
    given: float | None, device: str, tensor_parallel: int, gpus: float
) -> None:
    assert Placement(2, gpus_per_worker=given).gpus_on(device, tensor_parallel) == gpus


def test_fewer_gpus_than_the_engine_uses_are_refused() -> None:
    with pytest.raises(InputError, match=r"--gpus-per-worker 1: --tensor-parallel 2 takes 2 GPUs; give"):
        check_placement(Placement(None, "auto", 1.0), "cuda", tensor_parallel=2)


def test_the_gpus_of_a_worker_are_on_one_machine() -> None:
    check_gpus(Placement(2), "cuda", "the cluster", [2, 2], tensor_parallel=2)
    with pytest.raises(InputError, match=r"--workers 2 with 2 GPUs each: the cluster has 4 GPUs, room for 1"):
        check_gpus(Placement(2), "cuda", "the cluster", [3, 1], tensor_parallel=2)
    check_gpus(Placement(2), "cpu", "the cluster", [0], tensor_parallel=2)


def test_a_local_run_is_checked_for_nothing_but_its_flags() -> None:
    check_placement(LOCAL, "cuda:1")
    with pytest.raises(InputError, match="is for workers"):
        check_placement(Placement(gpus_per_worker=1.0), "cuda")
