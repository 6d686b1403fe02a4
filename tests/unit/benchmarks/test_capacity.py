"""The tables of docs/capacity.md are those that the benchmark script prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_tables_of_docs_capacity_are_printed_by_the_script() -> None:
    printed = subprocess.run(
        [sys.executable, "benchmarks/capacity.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    tables = printed.strip().split("\n\n")
    assert len(tables) == 5
    text = (ROOT / "docs" / "capacity.md").read_text(encoding="utf-8")
    assert all(table in text for table in tables)
