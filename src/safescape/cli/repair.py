"""`safescape repair`: bring a finetune back into safety."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import safescape
from safescape.cli.command import AsJson, Given, with_options
from safescape.cli.output import say
from safescape.options import RepairOptions

if TYPE_CHECKING:
    from safescape.finetuning import Evaluation


@with_options(RepairOptions)
def repair(given: Given, as_json: AsJson = False) -> int:
    """Example: safescape repair demo ./my-finetune --data validation.jsonl --out ./repaired

    Find the point nearest to TUNED on the way from BASE at which harmful requests are refused, in at most 8
    evaluations, and save it as an ordinary checkpoint, or as a rescaled adapter. Exit code 1 where no point is safe;
    nothing is saved then.
    """
    repaired = safescape.repair(
        **given, on_evaluation=lambda found: print(_described(found), file=sys.stderr, flush=True)
    )
    found, directory = repaired.search, repaired.directory
    if repaired.failed_attacks is not None:
        print(repaired.failed_attacks, file=sys.stderr)
    if as_json:
        figures = [at.document() for at in found.evaluations]
        saved, best = None if directory is None else str(directory), found.evaluations.index(found.best)
        print(json.dumps({"saved": saved, "best": best, "evaluations": figures}))
    elif directory is None:
        say(f"FAILED no point on the way is safe; the best: {_described(found.best)}; nothing is saved")
        if (as_safe := found.as_safe_as_base) is not None:
            say(f"BASE is not safe itself; --max-asr {as_safe} asks for a model about as safe as BASE")
    else:
        name = f"{given['base']}+{directory}" if repaired.is_adapter else str(directory)
        say(f"before: {_described(found.evaluations[0])}", f"saved:  {_described(found.best)}")
        say(f"{name}, after {len(found.evaluations)} evaluations", f"next: safescape scan {name}")
    return 1 if directory is None else 0


def _described(at: Evaluation) -> str:
    where = ", ".join(f"{alpha:.4g}" for alpha in at.coords)
    low, high = at.interval
    loss = "" if at.loss is None else f", loss {at.loss:.4g}"
    left = f", {at.unscored} of them unscored" if at.unscored else ""
    return f"α = {where}: {at.complied} of {at.n} answered{left} (95 %: {low:.1f} to {high:.1f} %){loss}"
