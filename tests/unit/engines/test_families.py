"""Every family of transformers is decoded, moved and scored exactly, or refused; docs/models.md says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.families import FAMILIES, Family, examine, row_of, save, table_of

PAGE = Path(__file__).parents[3] / "docs" / "models.md"


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_a_family_is_exact_or_refused_as_the_table_says(family: Family, tmp_path: Path) -> None:
    outcome = examine(save(family, tmp_path / "model"))
    assert row_of(family, outcome) in table_of(PAGE), "run python benchmarks/families.py"


def test_the_table_has_a_row_for_each_family() -> None:
    assert len(table_of(PAGE)) == len(FAMILIES)
