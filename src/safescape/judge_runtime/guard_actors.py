"""Guard models and classifiers in actors of a Ray cluster, several of which read side by side.

The actors start when all points are measured and the measuring workers have released their GPUs.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from safescape.errors import RunError
from safescape.judge_runtime.guard_process import GuardKind, GuardServer, RemoteGuard
from safescape.placement import Placement
from safescape.placement.ray_cluster import check_started, connected, prepare_worker, reason_of, reserve, usual_device

_log = logging.getLogger(__name__)


class _Guard:
    """The actor: loads the model and replies to requests."""

    def __init__(self, directory: str, threads: int) -> None:
        prepare_worker(directory, threads)
        self._server = GuardServer()

    def reply(self, request: str) -> str:
        return self._server.reply(request)


class _ActorGuard(RemoteGuard):
    """A guard in an actor."""

    def __init__(self, actor: Any, place: str) -> None:
        self._actor, self._place = actor, place

    def _send(self, request: str) -> str:
        try:
            return str(ray.get(self._actor.reply.remote(request)))
        except RayError as error:
            raise RunError(f"{self._place}: an actor of this guard was lost ({reason_of(error)})") from error


@contextlib.contextmanager
def guards_on(
    placement: Placement, place: str, *, kind: GuardKind, device: str | None, most: int
) -> Iterator[list[RemoteGuard]]:
    """Load a model in one actor per worker of a placement, but at most `most`; the actors end with the context.

    Args:
        placement: Not local. Each actor has the cores and the GPUs that a worker with an engine on one GPU has.
        place: The model, in the form of MODEL, on every machine.
        kind: What kind of model it is.
        device: Where it runs. None: on a GPU if the cluster has one.
        most: The number of actors that have something to read.

    Raises:
        InputError: the model cannot be loaded, or the cluster cannot be joined or is too small.
        RunError: an actor died, or the cluster is busy.

    """
    with connected(placement):
        device = device or usual_device()
        reserved = reserve(placement, device)
        if most < reserved.workers:
            # fewer actors have more cores each
            reserved = reserve(placement._replace(workers=most), device)
        _log.info("%d actors load %s", reserved.workers, place)
        actor_class: Any = ray.remote(_Guard).options(num_cpus=reserved.cpus, num_gpus=reserved.gpus, max_restarts=0)
        actors = [actor_class.remote(str(Path.cwd()), reserved.cpus) for _ in range(reserved.workers)]
        try:
            check_started(actors)
            guards = [_ActorGuard(actor, place) for actor in actors]
            with ThreadPoolExecutor(len(guards)) as pool:
                list(pool.map(lambda guard: guard.load(place, kind, device), guards))
            yield [*guards]
        finally:
            for actor in actors:
                ray.kill(actor)
