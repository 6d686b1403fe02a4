"""python benchmarks/families.py [FAMILY ...]

Build a tiny random model of every family, open the engine on it as a user does, and compare what it decodes, moves and
scores with plain transformers (`tests/helpers/families.py`). Write the outcome into the table of docs/models.md, or
only print the named families, each by its `model_type`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from helpers.families import FAMILIES, examine, row_of, save, write_table
from safescape.weights import quiet

PAGE = Path(__file__).parents[1] / "docs" / "models.md"


def main() -> None:
    """Examine the families and write their rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[2])
    parser.add_argument("families", nargs="*", metavar="FAMILY")
    wanted = parser.parse_args().families
    known = {family.model_type for family in FAMILIES}
    if unknown := set(wanted) - known:
        parser.error(f"{min(unknown)}: no tiny model of this family; expected {', '.join(sorted(known))}")
    rows = []
    for family in FAMILIES:
        if wanted and family.model_type not in wanted:
            continue
        with tempfile.TemporaryDirectory() as directory, quiet():
            rows.append(row_of(family, examine(save(family, Path(directory) / "model"))))
        print(rows[-1], flush=True)
    if not wanted:
        write_table(PAGE, rows)


if __name__ == "__main__":
    main()
