"""`safescape inspect`: a model's tensors, chats and memory, before it is measured."""

from __future__ import annotations

import safescape
from safescape.cli.command import AsJson, Given, with_options
from safescape.cli.output import say, show_table
from safescape.errors import InputError
from safescape.options import InspectOptions


@with_options(InspectOptions)
def inspect(given: Given, as_json: AsJson = False) -> None:
    """Example: safescape inspect BASE+ADAPTER

    Show what MODEL is before it is measured: its parameters and which of them move, its chat template as the model
    reads it, its special tokens, the memory that a scan needs, and why it cannot be scanned, if it cannot. No weights
    are loaded. Exits with 2 if it cannot be scanned.
    """
    found = safescape.inspect(**given)
    if as_json:
        print(found.model_dump_json(indent=1))
    else:
        from safescape.views import inspection_text  # loads the drawing libraries, which `--help` need not wait for

        shown = inspection_text(found)
        say(*shown.head)
        for table in shown.tables:
            say("")
            show_table(table.columns, table.rows, left={0, len(table.columns) - 1} if table is shown.tables[0] else {0})
        say("", *shown.foot)
    if found.problems:
        raise InputError("; ".join(found.problems))
