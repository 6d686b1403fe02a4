"""Judges of other people's: `package.module:object`, or a name of the entry point group `safescape.judges`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from safescape.errors import InputError, RunError
from safescape.survey import Exchange, Outcome, Verdict

__all__ = ["CustomJudge", "custom_judge", "entry_points"]

GROUP = "safescape.judges"


class CustomJudge:
    """Somebody's judge, held to the contract: one verdict an exchange, whatever it is given.

    Args:
        name: As the user typed it.
        found: An object with `judge(exchanges)`; with `stop`, if it can tell before an answer is complete; and with
            `made_of`, if its verdicts come from something that may change.

    """

    def __init__(self, name: str, found: Any) -> None:
        self.name, self._found = name, found
        self.stop: Sequence[str] = tuple(getattr(found, "stop", ()))
        self.made_of: Mapping[str, str] = dict(getattr(found, "made_of", {}))

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Return one verdict an exchange, in order.

        Raises:
            RunError: it failed, or gave something else.

        """
        try:
            verdicts = list(self._found.judge(exchanges))
        except Exception as error:  # whatever somebody else's code may raise
            raise RunError(f"--judge {self.name}: its judge() raised {type(error).__name__}: {error}") from error
        if len(verdicts) != len(exchanges):
            raise RunError(f"--judge {self.name}: gave {len(verdicts)} verdicts for {len(exchanges)} exchanges")
        return [self._checked(verdict) for verdict in verdicts]

    def _checked(self, given: Any) -> Verdict:
        if isinstance(given, Verdict) and isinstance(given.outcome, Outcome):
            return given
        if isinstance(given, str) and given in tuple(Outcome):
            return Verdict(Outcome(given))
        outcomes = ", ".join(Outcome)
        raise RunError(f"--judge {self.name}: gave {given!r:.80}; expected a safescape.Verdict, or one of {outcomes}")


def custom_judge(name: str) -> CustomJudge:
    """Import somebody's judge: an object, or a class or function that makes one without arguments.

    Raises:
        InputError: there is none, or it has no `judge`.

    """
    try:
        found: Any = entry_points()[name]() if name in entry_points() else _imported(name)
        made = found if hasattr(found, "judge") and not isinstance(found, type) else found()
    except InputError:
        raise
    except Exception as error:  # importing runs somebody else's code
        raise InputError(f"--judge {name}: cannot be loaded ({type(error).__name__}: {error})") from error
    if not callable(getattr(made, "judge", None)):
        raise InputError(f"--judge {name}: has no judge(exchanges); docs/judges.md shows a judge in twelve lines")
    return CustomJudge(name, made)


def _imported(name: str) -> Any:
    module, _, path = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *path.split("."))):
        raise InputError(f"--judge {name}: no such judge; a judge of your own is given as package.module:object")
    if (here := str(Path.cwd())) not in sys.path:
        # a file beside the user is found by the installed command too, as with `python -m`
        sys.path.append(here)
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


@cache
def entry_points() -> dict[str, Callable[[], Any]]:
    """Return what loads the judges that installed packages offer, by name."""
    return {point.name: point.load for point in metadata.entry_points(group=GROUP)}
