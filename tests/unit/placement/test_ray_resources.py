"""Resources on a Ray cluster: what is free counts, a busy cluster is waited for, a small one refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from safescape import InputError, RunError
from safescape.placement import Placement
from safescape.placement import ray_cluster as cluster
from safescape.placement.ray_cluster import Reservation, check_started, reserve

Machine = tuple[float, float]
"""Cores and GPUs."""
Cluster = Callable[[Sequence[Machine], Iterator[Sequence[Machine]]], None]


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Let Ray report these machines, and what is free of them, look by look."""

    def named(each: Sequence[Machine]) -> dict[str, dict[str, float]]:
        return {f"node {n}": {"CPU": cpus, "GPU": gpus} for n, (cpus, gpus) in enumerate(each)}

    def fake(whole: Sequence[Machine], free: Iterator[Sequence[Machine]]) -> None:
        nodes = [{"NodeID": name, "Resources": found, "Alive": True} for name, found in named(whole).items()]
        gone = {"NodeID": "gone", "Resources": {"CPU": 64.0, "GPU": 8.0}, "Alive": False}
        monkeypatch.setattr("ray.nodes", lambda: [*nodes, gone])
        monkeypatch.setattr(cluster, "available_resources_per_node", lambda: named(next(free)))
        monkeypatch.setattr(cluster, "_POLL", 0.001)
        monkeypatch.setattr(cluster, "_SILENT", 0.0)

    return fake


def always(*free: Machine) -> Iterator[Sequence[Machine]]:
    while True:
        yield free


@pytest.mark.parametrize(
    ("placement", "device", "tensor_parallel", "free", "expected"),
    [
        (Placement(2), "cpu", 1, [(8, 0)], Reservation(2, 4, 0.0)),
        (Placement(3), "cpu", 1, [(4, 0), (2, 0)], Reservation(3, 2, 0.0)),
        (Placement(None, "auto"), "cpu", 1, [(4, 0), (0, 0), (2, 0)], Reservation(2, 2, 0.0)),
        (Placement(None, "auto"), "cuda", 1, [(8, 2), (8, 1)], Reservation(3, 4, 1.0)),
        (Placement(None, "auto"), "cuda", 2, [(8, 3), (8, 4)], Reservation(3, 4, 2.0)),
        (Placement(None, "auto", 0.5), "cuda", 1, [(8, 1)], Reservation(2, 4, 0.5)),
        # a machine whose cores are in use has no worker, whatever its GPUs
        (Placement(None, "auto"), "cuda", 1, [(0, 8), (4, 2)], Reservation(2, 2, 1.0)),
    ],
)
def test_what_is_free_is_shared_out(
    placement: Placement,
    device: str,
    tensor_parallel: int,
    free: list[Machine],
    expected: Reservation,
    machines: Cluster,
) -> None:
    machines([(16, 8)] * len(free), always(*free))
    assert reserve(placement, device, tensor_parallel=tensor_parallel) == expected


def test_a_busy_cluster_is_waited_for_and_what_is_missing_is_told_once(machines: Cluster) -> None:
    machines([(4, 1)], iter([[(4, 0)], [(4, 0)], [(4, 0)], [(4, 1)]]))
    told: list[str] = []
    assert reserve(Placement(1), "cuda", on_wait=told.append) == Reservation(1, 4, 1.0)
    assert told == [
        "the Ray cluster is busy: 4 of 4 cores and 0 of 1 GPUs are free, 1 workers need a core and 1 GPUs each; "
        "waiting up to 120 s"
    ]


def test_a_cluster_that_stays_busy_is_one_line(machines: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    machines([(2, 0)], always((1, 0)))
    monkeypatch.setattr(cluster, "_FREE_TIMEOUT", 0.05)
    with pytest.raises(RunError) as failed:
        reserve(Placement(2), "cpu", on_wait=lambda _: None)
    assert str(failed.value) == (
        "the Ray cluster is busy: 1 of 2 cores and 0 of 0 GPUs are free, 2 workers need a core each; wait for it, or "
        "give fewer --workers: the same command resumes"
    )


def test_resources_that_are_free_after_a_moment_are_not_worth_a_message(
    machines: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines([(4, 0)], iter([[(0, 0)], [(4, 0)]]))
    monkeypatch.setattr(cluster, "_SILENT", 3.0)
    told: list[str] = []
    assert reserve(Placement(1), "cpu", on_wait=told.append) == Reservation(1, 4, 0.0)
    assert not told


def test_actors_whose_processes_do_not_start_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others took the resources after they were seen free."""

    class Method:
        def remote(self) -> str:
            return "a result"

    class Actor:
        __ray_ready__ = Method()

    def wait(refs: Sequence[str], *, num_returns: int, timeout: float) -> tuple[Sequence[str], Sequence[str]]:
        assert (num_returns, timeout) == (3, 120.0)
        return refs[:1], refs[1:]

    monkeypatch.setattr("ray.wait", wait)
    with pytest.raises(RunError, match="is busy: 2 of 3 actors did not start within 120 s; wait for it"):
        check_started([Actor()] * 3)


def test_a_cluster_that_is_too_small_is_refused_at_once(machines: Cluster) -> None:
    machines([(2, 1)], iter([]))
    with pytest.raises(InputError, match="--workers 3: the Ray cluster has 2 cores; give --workers 2"):
        reserve(Placement(3), "cpu")
    with pytest.raises(InputError, match="--workers 2 with 1 GPUs each: the Ray cluster has 1 GPUs, room for 1"):
        reserve(Placement(2), "cuda")
    with pytest.raises(InputError, match="--workers 1 with 2 GPUs each: the Ray cluster has 1 GPUs, room for 0"):
        reserve(Placement(None, "auto"), "cuda", tensor_parallel=2)
