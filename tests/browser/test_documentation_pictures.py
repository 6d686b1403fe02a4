"""The screenshots of the documentation are taken from runs, without a temporary path on them."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import matplotlib.image
import pytest
from playwright.sync_api import Page

from helpers.behaviours import bowl, four_outcomes, no_basin
from helpers.runs import make_run
from helpers.surveys import TWO_JUDGES, make_survey, random_plane

SHOTS = ["list", "compare", "top", "live", "surface", "dark", "narrow"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose `runs/` holds runs with the names of those of the documentation."""
    folder = tmp_path_factory.mktemp("pictures")
    line = make_survey(prompts=12, lines=1, steps=10, judges=TWO_JUDGES)
    make_run(folder / "runs" / "demo-quick", line, opinion=four_outcomes).close()
    make_run(folder / "runs" / "demo-base", line, rate=no_basin, opinion=four_outcomes).close()
    make_run(
        folder / "runs" / "demo-plane", make_survey(prompts=5, subspace=random_plane(4)), chance=bowl, points=25
    ).close()
    return folder


@pytest.mark.parametrize("name", [*(f"explorer-{name}" for name in SHOTS), "two-points"])
def test_a_screenshot_is_taken(
    name: str, runs: Path, pictures: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    picture = pictures.PICTURES[name]
    pictures.draw(picture, tmp_path / "shot.png")
    drawn = matplotlib.image.imread(tmp_path / "shot.png")
    assert drawn.shape[:2] == (picture.source.height, picture.source.width)
    assert drawn[..., :3].std() > 0.02, "the picture is not blank"


def test_the_list_of_runs_is_titled_with_the_directory_as_typed(page: Page, runs: Path, pictures: ModuleType) -> None:
    with pictures.explorer(runs) as address:
        page.goto(address)
        assert page.locator("h1").inner_text() == "Runs under runs"


def test_half_of_the_points_of_a_run_are_kept(page: Page, runs: Path, pictures: ModuleType, tmp_path: Path) -> None:
    shutil.copytree(runs / "runs" / "demo-plane", tmp_path / "runs" / "demo-plane")
    pictures.keep_half(tmp_path / "runs" / "demo-plane")
    with pictures.explorer(tmp_path) as address:
        page.goto(address)
        page.get_by_text("12 of 25 points").wait_for()
