"""The measures in the table of docs/science.md are those that the code computes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from safescape.landscape.measures import Array, basin_radius, safety_auc, visage, visage_reference

PAGE = (Path(__file__).parents[3] / "docs" / "science.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d+) points \| ([\d.]+) %.*? \| (.*) \|$", PAGE, re.MULTILINE)


def curve(inside: int, outside: float) -> Array:
    return np.where(abs(np.arange(21) - 10) <= inside // 2, 0.0, outside)


@pytest.mark.parametrize(("inside", "outside", "figures"), ROWS)
def test_a_curve_of_the_table_has_the_computed_measures(inside: str, outside: str, figures: str) -> None:
    asr = curve(int(inside), float(outside))
    found = (visage(asr), visage_reference(asr), safety_auc(asr))
    radius = basin_radius(asr, np.arange(-10, 11) / 20, 10.0).value
    assert " | ".join([*(f"{value:.1f}" for value in found), f"{radius:.3f}"]) == figures


def test_the_table_has_three_curves() -> None:
    assert len(ROWS) == 3
