"""Guards as actors of a Ray: each holds the model on a device of its own, and several read side by side.

They begin when what they judge is measured and stored, and the workers that measured it have left: what those had of
the cluster's GPUs is theirs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from safescape.errors import RunError
from safescape.judge_runtime.process import AskedGuard, GuardKind, GuardServer
from safescape.placement import Placement
from safescape.placement.ray import attached, reason_of, room_on

__all__ = ["guards_on"]


class _Guard:
    """The model, in a process of its own."""

    def __init__(self, directory: str, threads: int) -> None:
        # a path of the user's begins where the user is; a machine that has no such place knows the Hub's models alone
        if Path(directory).is_dir():
            os.chdir(directory)
        torch.set_num_threads(threads)
        self._server = GuardServer()

    def reply(self, request: str) -> str:
        return self._server.reply(request)


class _ActorGuard(AskedGuard):
    """One of them, from afar."""

    def __init__(self, actor: Any, place: str) -> None:
        self._actor, self._place = actor, place

    def load(self, kind: GuardKind, device: str) -> None:
        self._ask(place=self._place, kind=kind, device=device)

    def _sent(self, request: str) -> str:
        try:
            return str(ray.get(self._actor.reply.remote(request)))
        except RayError as error:
            raise RunError(f"{self._place}: an actor of this guard was lost ({reason_of(error)})") from error


@contextlib.contextmanager
def guards_on(
    placement: Placement, place: str, *, kind: GuardKind, device: str, most: int
) -> Iterator[list[AskedGuard]]:
    """A guard, loaded as often as there are workers; gone at the end, however that comes.

    Args:
        placement: Not here.
        place: Where the model is, as MODEL is written, on every machine.
        kind: What it is.
        device: Where it runs.
        most: How many have something to read.

    Raises:
        InputError: it cannot be loaded, the Ray cannot be joined, or there is no room for so many.
        RunError: an actor died.

    """
    with attached(placement):
        hired = room_on(placement, device)
        if most < hired.workers:
            # the fewer there are, the more cores has each
            hired = room_on(placement._replace(workers=most), device)
        actor_class: Any = ray.remote(_Guard).options(num_cpus=hired.cpus, num_gpus=hired.gpus, max_restarts=0)
        actors = [actor_class.remote(str(Path.cwd()), hired.cpus) for _ in range(hired.workers)]
        try:
            guards = [_ActorGuard(actor, place) for actor in actors]
            with ThreadPoolExecutor(len(guards)) as pool:
                list(pool.map(lambda guard: guard.load(kind, device), guards))
            yield [*guards]
        finally:
            for actor in actors:
                ray.kill(actor)
