"""Every family of transformers is decoded, moved and scored exactly, or refused; docs/models.md says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.families import FAMILIES, TOKENS, Family, examine, row_of, save, table_of, write_table
from safescape.engines import full_attention_within
from safescape.engines.kv_cache import Caching

PAGE = Path(__file__).parents[3] / "docs" / "models.md"


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_a_family_is_exact_or_refused_as_the_table_says(family: Family, tmp_path: Path) -> None:
    outcome = examine(save(family, tmp_path / "model"))
    assert row_of(family, outcome) in table_of(PAGE), "run python benchmarks/families.py"


WINDOWED = [family for family in FAMILIES if family.widened() != family]


@pytest.mark.parametrize("family", WINDOWED, ids=[family.name for family in WINDOWED])
def test_a_family_with_windows_is_exact_where_they_are_wider_than_its_rows(
    family: Family, tmp_path: Path, batches: list[tuple[Caching, set[int]]]
) -> None:
    """Prompts of unequal length then share a cache, with a gap between the shorter ones and their answers."""
    examine(save(family, tmp_path / "narrow"))
    assert all(caching is Caching.OWN or len(lengths) == 1 for caching, lengths in batches)
    assert any(len(lengths) > 1 for _, lengths in batches)
    batches.clear()
    outcome = examine(save(family.widened(), tmp_path / "wide"))
    assert row_of(family, outcome) in table_of(PAGE)
    assert any(caching is Caching.SHARED and len(lengths) > 1 for caching, lengths in batches)


@pytest.mark.parametrize(
    ("model_type", "setting"), [("mistral", "sliding_window"), ("llama4_text", "attention_chunk_size")]
)
def test_prompts_of_unequal_length_share_a_cache_up_to_the_width_of_a_window(
    model_type: str, setting: str, tmp_path: Path, batches: list[tuple[Caching, set[int]]]
) -> None:
    family = next(family for family in FAMILIES if family.model_type == model_type)
    examine(save(family.widened(), tmp_path / "wide"))
    longest = max(max(lengths) for _, lengths in batches) + TOKENS
    for width, shared in ((longest, True), (longest - 1, False)):
        batches.clear()
        changed = family._replace(settings={**family.settings, setting: width})
        assert examine(save(changed, tmp_path / str(width))).state == "exact"
        together = {caching for caching, lengths in batches if len(lengths) > 1}
        assert (Caching.SHARED in together) == shared


def test_llama_4_scales_its_queries_by_their_place_in_the_cache(tmp_path: Path) -> None:
    family = next(family for family in FAMILIES if family.model_type == "llama4_text").widened()
    scaled = {"attn_temperature_tuning": True, "floor_scale": 16, "attn_scale": 4.0, "no_rope_layers": [0, 0]}
    family = family._replace(settings={**family.settings, **scaled})
    assert full_attention_within(family.config()) == 15
    assert examine(save(family, tmp_path / "model")).state == "exact"


def test_the_table_has_a_row_for_each_family() -> None:
    assert len(table_of(PAGE)) == len(FAMILIES)


def test_the_page_is_as_the_command_writes_it(tmp_path: Path) -> None:
    """What stands around the table is kept."""
    page = tmp_path / "models.md"
    page.write_bytes(PAGE.read_bytes())
    write_table(page, table_of(PAGE))
    assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8"), "run python benchmarks/families.py"
