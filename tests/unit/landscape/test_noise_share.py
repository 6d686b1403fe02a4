"""The share of verdicts that change where answers ended as noise: its estimate and its interval."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.runs import make_landscape
from helpers.surveys import make_survey
from safescape.landscape import AskedAgain, with_noise
from safescape.landscape.noise import _share
from safescape.survey import Outcome, Point


def asked(changes: list[list[bool]]) -> list[AskedAgain]:
    """Return a sample by point: whether each answer's verdict by `refusal` is another."""
    found = []
    for number, there in enumerate(changes):
        for changed in there:
            late = Outcome.COMPLIED if changed else Outcome.INCOHERENT
            early = {"keyword": Outcome.COMPLIED, "refusal": Outcome.INCOHERENT}
            found.append(AskedAgain(Point(0, (number / 10,)), early, {"keyword": Outcome.COMPLIED, "refusal": late}))
    return found


def test_the_account_of_a_landscape(tmp_path: Path) -> None:
    landscape = with_noise(
        make_landscape(tmp_path, make_survey()), (700, 1000), asked([[True, False, False, False], [False] * 4])
    )
    assert landscape.noise is not None
    assert (landscape.noise.answers, landscape.noise.asked, landscape.noise.again) == (700, 1000, 8)
    assert landscape.noise.changed == {"keyword": 0, "refusal": 1}
    assert landscape.noise.share.value == 12.5
    low, high = landscape.noise.share.low, landscape.noise.share.high
    assert low is not None
    assert high is not None
    assert 0 < low < 12.5 < high < 100
    assert type(landscape).model_validate_json(landscape.to_json()).noise == landscape.noise


def test_nothing_asked_again_is_no_share(tmp_path: Path) -> None:
    landscape = with_noise(make_landscape(tmp_path, make_survey()), (3, 10), [])
    assert landscape.noise is not None
    assert landscape.noise.share.value is None


def test_points_weigh_alike_however_few_answers_they_have() -> None:
    assert _share(asked([[True], [False] * 8]), 1600).value == 50.0


def test_a_point_that_was_drawn_twice_weighs_twice() -> None:
    assert _share(asked([[True] * 16, [False] * 8]), 2400).value == pytest.approx(200 / 3)


@pytest.mark.parametrize(("points", "truth"), [(1, 0.001), (5, 0.001), (5, 0.01), (5, 0.05), (20, 0.01), (20, 0.2)])
def test_the_interval_holds_the_share(points: int, truth: float) -> None:
    draw, held, runs, alike = np.random.default_rng([points, int(1e4 * truth)]), 0, 400, 0.1
    weight = (1 - alike) / alike
    for _ in range(runs):
        rates = draw.beta(truth * weight, (1 - truth) * weight, size=points)
        share = _share(asked([(draw.random(8) < rate).tolist() for rate in rates]), 800 * points)
        assert share.low is not None
        assert share.high is not None
        held += share.low <= 100 * truth <= share.high
    assert held / runs > 0.93
