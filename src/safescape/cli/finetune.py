"""`safescape finetune`: train a model on given conversations."""

from __future__ import annotations

import json

import safescape
from safescape.cli.command import AsJson, Given, with_options
from safescape.cli.output import say
from safescape.cli.progress import show_steps
from safescape.options import FinetuneOptions


@with_options(FinetuneOptions)
def finetune(given: Given, as_json: AsJson = False) -> None:
    """Example: safescape finetune demo --recipe harmful --data advbench --out runs/attacked

    Finetune MODEL on conversations as the paper does: all parameters, AdamW, the loss on the answers alone. OUT holds
    the model and one checkpoint per epoch, which `path --through` draws as a trajectory. Interrupted, it resumes from
    the last epoch.
    """
    with show_steps() as on_step:
        made = safescape.finetune(**given, on_step=on_step)
    model, checkpoints = given["model"], [str(path) for path in made.checkpoints]
    is_adapter = (made.directory / "adapter_config.json").exists()
    name = f"{model}+{made.directory}" if is_adapter else str(made.directory)
    if as_json:
        found = {"model": name, "checkpoints": checkpoints, "losses": made.losses, "stopped_at": made.stopped_at}
        print(json.dumps(found))
        return
    say(f"loss by epoch: {', '.join(f'{loss:.3f}' for loss in made.losses)}")
    if made.stopped_at is not None:
        say(f"stopped after step {made.stopped_at}")
    say(f"{name}, and {len(checkpoints)} checkpoints in {made.directory}", f"next: safescape path {model} {name}")
