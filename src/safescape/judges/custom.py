"""Judges written by users: `package.module:object`, or an entry point of the group `safescape.judges`."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from safescape.errors import InputError, RunError, first_line
from safescape.survey import Exchange, Outcome, Verdict

_log = logging.getLogger(__name__)


class CustomJudge:
    """A user's judge, whose results are checked.

    Its object has a method `judge(exchanges)`, and may have `stop`, `stops_at_noise` (False without it) and `made_of`;
    see `judges.Judge`.

    Raises:
        InputError: the method is missing, or one of the attributes has another type.

    """

    def __init__(self, name: str, judge: Any) -> None:
        if not callable(getattr(judge, "judge", None)):
            raise InputError(f"--judge {name}: has no judge(exchanges); docs/judges.md shows a judge in twelve lines")
        stop, made_of = getattr(judge, "stop", ()), getattr(judge, "made_of", {})
        if isinstance(stop, str) or not isinstance(stop, Collection) or not all(isinstance(text, str) for text in stop):
            raise InputError(f"--judge {name}: its stop is {stop!r:.80}; expected a tuple of phrases")
        stops_at_noise = getattr(judge, "stops_at_noise", False)
        if not isinstance(stops_at_noise, bool):
            raise InputError(f"--judge {name}: its stops_at_noise is {stops_at_noise!r:.80}; expected True or False")
        try:
            self.made_of: Mapping[str, str] = json.loads(json.dumps(dict(made_of)))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"--judge {name}: its made_of is {made_of!r:.80}; expected a dictionary of texts"
            ) from error
        self.name, self._judge = name, judge
        self.stop: Sequence[str] = tuple(stop)
        self.stops_at_noise = stops_at_noise

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Return one verdict per exchange, in order; raise RunError if the user's judge fails."""
        try:
            verdicts = list(self._judge.judge(exchanges))
        except Exception as error:  # a user's code may raise anything
            raise RunError(
                f"--judge {self.name}: its judge() raised {type(error).__name__}: {first_line(error)}"
            ) from error
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
    """Import a user's judge: an object with a method `judge`, or a class or function that makes one without arguments.

    InputError is raised if it cannot be imported or made, or does not fulfil the contract; see `CustomJudge`.
    """
    try:
        found: Any = entry_points()[name]() if name in entry_points() else _imported(name)
        judge = found if hasattr(found, "judge") and not isinstance(found, type) else found()
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # importing a module runs a user's code, which may raise anything
        raise InputError(f"--judge {name}: cannot be loaded ({type(error).__name__}: {first_line(error)})") from error
    _log.debug("--judge %s: loaded %s", name, type(judge))
    return CustomJudge(name, judge)


def _imported(name: str) -> Any:
    module, _, path = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *path.split("."))):
        raise InputError(f"--judge {name}: no such judge; a judge of your own is given as package.module:object")
    if (here := str(Path.cwd())) not in sys.path:
        # the installed command finds a file in the working directory too, as `python -m` does
        sys.path.append(here)
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


@cache
def entry_points() -> dict[str, Callable[[], Any]]:
    """Return the judges that installed packages offer: by name, a function that loads the object."""
    return {point.name: point.load for point in metadata.entry_points(group="safescape.judges")}
