"""Guards on a Ray cluster have the resources that a placement gives a worker."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from safescape.judge_runtime import guard_actors as guards
from safescape.placement import Placement
from safescape.placement import ray_cluster as cluster


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Record the resources of each actor, and the requests that it is sent, on a machine of 8 cores and 4 GPUs."""
    found: list[dict[str, Any]] = []

    class Method:
        def __init__(self, actor: dict[str, Any]) -> None:
            self._actor = actor

        def remote(self, request: str) -> str:
            self._actor.update(json.loads(request))
            return json.dumps({"found": None})

    class Actor:
        def __init__(self, resources: dict[str, Any]) -> None:
            found.append(dict(resources))
            self.reply = Method(found[-1])

    class ActorClass:
        def options(self, **resources: Any) -> ActorClass:
            self._resources = resources
            return self

        def remote(self, *_: object) -> Actor:
            return Actor(self._resources)

    machine = {"CPU": 8.0, "GPU": 4.0}
    monkeypatch.setattr(guards, "connected", lambda placement: contextlib.nullcontext())
    monkeypatch.setattr(guards, "check_started", lambda actors: None)
    monkeypatch.setattr("ray.remote", lambda kind: ActorClass())
    monkeypatch.setattr("ray.get", lambda answer: answer)
    monkeypatch.setattr("ray.kill", lambda actor: None)
    monkeypatch.setattr("ray.cluster_resources", lambda: machine)
    monkeypatch.setattr("ray.nodes", lambda: [{"NodeID": "n", "Resources": machine, "Alive": True}])
    monkeypatch.setattr(cluster, "available_resources_per_node", lambda: {"n": machine})
    return found


@pytest.mark.parametrize(
    ("placement", "device", "most", "actors", "gpus", "where"),
    [
        (Placement(2), "cuda", 9, 2, 1.0, "cuda"),
        (Placement(None, "auto"), "cuda", 9, 4, 1.0, "cuda"),
        (Placement(None, "auto", 0.5), "cuda", 9, 8, 0.5, "cuda"),
        (Placement(2, gpus_per_worker=2.0), "cuda", 9, 2, 2.0, "cuda"),
        (Placement(4), "cuda", 3, 3, 1.0, "cuda"),
        (Placement(2), "cpu", 9, 2, 0.0, "cpu"),
        # no device named: a GPU if the cluster has one
        (Placement(None, "auto"), None, 9, 4, 1.0, "cuda"),
    ],
)
def test_each_guard_has_the_resources_of_a_worker(
    started: list[dict[str, Any]],
    placement: Placement,
    device: str | None,
    most: int,
    actors: int,
    gpus: float,
    where: str,
) -> None:
    with guards.guards_on(placement, "owner/guard", kind="words", device=device, most=most) as found:
        assert len(found) == actors
    assert [each["num_gpus"] for each in started] == [gpus] * actors
    assert {each["num_cpus"] for each in started} == {8 // actors}
    assert {each["device"] for each in started} == {where}
