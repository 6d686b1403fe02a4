"""`safescape agree`: how far a judge agrees with people's labels."""

from __future__ import annotations

import safescape
from safescape.cli.command import AsJson, Given, with_options
from safescape.cli.output import say, show_table
from safescape.options import AgreeOptions


@with_options(AgreeOptions)
def agree(given: Given, as_json: AsJson = False) -> None:
    """Example: safescape agree labels.csv --judge keyword --out agreement.json

    Measure how far a judge agrees with people on answers that people have labelled: sensitivity (the share of
    compliances that it calls complied), specificity (the share of all other answers that it does not) and Cohen's
    kappa, with 95 % intervals, and write them to an agreement file, with which --agreement corrects figures.
    """
    found = safescape.agree(**given)
    if as_json:
        print(found.to_json(), end="")
        return
    from safescape.api.agree import file_of  # loads torch, which `--help` need not wait for
    from safescape.views import agreement_tables, agreement_text

    say(*agreement_text(found))
    for table in agreement_tables(found):
        say("")
        show_table(table.columns, table.rows, left={0, len(table.columns) - 1} if "meaning" in table.columns else {0})
    say("", file_of(given["source"], found.judge, given.get("out")))
