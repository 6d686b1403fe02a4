"""`directions` as a function and as a command: one model along several directions, its files and its errors."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

import safescape
from helpers.runs import make_run
from helpers.surveys import further, make_survey, path_line, random_plane
from safescape.errors import InputError
from safescape.landscape import Directions
from safescape.survey import REFUSAL, ComputedAxis, Difference, Gradient, Lines, Point, Removal

FINGERPRINT = "sha256:" + "1" * 64


def along(recipe: Any, *, span: float, length: float = 1.0, norm: str = "layer") -> Lines:
    axis = {"recipe": recipe, "fingerprint": FINGERPRINT, "norm": norm, "span": span, "steps": 10, "length": length}
    return Lines(axes=(ComputedAxis.model_validate(axis),))


GRADIENT = along(Gradient(given="gradient", prompts=32), span=0.001)
REMOVAL = along(Removal(given="refusal", prompts=32), span=1.0, length=0.2, norm="none")
TOWARD = along(Difference(given="toward:m", model="m", model_fingerprint=FINGERPRINT), span=0.01)


def written(directory: Path, subspace: Lines | None, *, complies_from: float, able_to: float, **survey: Any) -> Path:
    """A run of a model that complies, and loses capability, at given |α|; on the negative side of a computed axis it
    does neither."""

    def chance(probe: str, point: Point) -> float:
        alpha = point.coords[0]
        far = abs(alpha) if subspace is None else alpha
        if probe == "harmful":
            return float(far >= complies_from)
        return 2.0 + 2.0 * math.log(1.2) * (far >= able_to)

    asked = {"prompts": 40, "judges": (REFUSAL,), "also": further("perplexity", items=20), **survey}
    make_run(directory, make_survey(subspace=subspace, **asked), chance=chance).close()
    return directory


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Runs in random directions, along the gradient, and along the removal of refusals; read-only."""
    directory = tmp_path_factory.mktemp("runs")
    return [
        written(directory / "random", None, complies_from=0.3, able_to=0.2),
        written(directory / "gradient", GRADIENT, complies_from=0.0004, able_to=9.0),
        written(directory / "removal", REMOVAL, complies_from=0.4, able_to=0.6),
    ]


def test_distances_are_in_one_unit(runs: list[Path]) -> None:
    found = safescape.directions(runs)
    random, gradient, removal = found.directions
    assert (random.lines, gradient.lines, removal.lines) == (3, 1, 1)
    assert random.radius.value == pytest.approx(0.255)
    assert gradient.radius.value == pytest.approx(0.00022)
    assert removal.length == 0.2
    assert removal.radius.value == pytest.approx(0.22 * 0.2)
    assert removal.radius.low == pytest.approx(0.2 * 0.2)
    assert removal.strict is not None
    assert removal.strict.capability_radius.value == pytest.approx(0.2 * (0.4 + 0.2 * 10 / 44))
    assert removal.strict.gap.value is not None
    assert removal.strict.gap.value < 0.0
    assert random.strict is not None
    assert random.strict.gap.value is not None
    assert random.strict.gap.value > 0.0


def test_the_table_the_files_and_the_picture(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Callable[..., int], capsys: Any
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert typed("directions", *runs, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "3 random directions" in printed
    assert "the gradient of the refusal margin" in printed
    assert "0.022 (0.02 to 0.04)" in printed
    document = json.loads((tmp_path / "out" / "directions.json").read_text())
    assert [row["direction"] for row in document["directions"]] == [
        "random",
        "the gradient of the refusal margin",
        "the removal of the refusal direction",
    ]
    assert "landscapes" not in document
    assert (tmp_path / "out" / "directions.png").stat().st_size > 20_000
    assert typed("directions", *runs, "--json") == 0
    assert json.loads(capsys.readouterr().out) == document


def test_the_picture_draws_the_side_that_a_direction_leads_to(runs: list[Path]) -> None:
    upper, lower = safescape.directions(runs).figure().axes
    random, gradient, removal = drawn(upper)
    assert gradient[0] == pytest.approx([0.0002, 0.0004, 0.0006, 0.0008, 0.001])
    assert gradient[1] == [0.0, 100.0, 100.0, 100.0, 100.0]
    assert removal[0] == pytest.approx([0.04, 0.08, 0.12, 0.16, 0.2])
    assert len(random[0]) == 10
    of_random, of_gradient, _ = drawn(lower)
    assert of_gradient[1] == pytest.approx([0.0] * 5)
    assert max(of_random[1]) == pytest.approx(44.0, abs=0.5)


def drawn(axes: Axes) -> list[tuple[list[float], list[float]]]:
    """The curves of a panel: their distances and values."""
    curves = [np.asarray(line.get_xydata()).T.tolist() for line in axes.lines]
    return [(x, y) for x, y in curves if len(x) > 2]


def test_runs_without_a_capability_have_their_radius_alone(tmp_path: Path) -> None:
    given: dict[str, Any] = {"complies_from": 0.3, "able_to": 9.0, "also": (), "judges": ("keyword",)}
    runs = [written(tmp_path / "one", None, **given), written(tmp_path / "two", TOWARD, **given)]
    found = safescape.directions(runs)
    assert [row.strict for row in found.directions] == [None, None]
    assert len(found.figure().axes) == 1
    assert isinstance(found, Directions)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": 30}, "did not ask what"),
        ({"also": ()}, "did not ask what"),
        ({"judges": ("keyword",)}, "did not ask what"),
    ],
)
def test_runs_that_asked_something_else_are_refused(
    change: dict[str, Any], message: str, runs: list[Path], tmp_path: Path
) -> None:
    other = written(tmp_path / "other", GRADIENT, complies_from=0.0004, able_to=9.0, **change)
    with pytest.raises(InputError, match=message):
        safescape.directions([runs[0], other])


def test_other_models_planes_and_lines_between_models_are_refused(runs: list[Path], tmp_path: Path) -> None:
    survey = make_survey(prompts=4).model_copy(update={"model_fingerprint": FINGERPRINT})
    make_run(tmp_path / "model", survey).close()
    with pytest.raises(InputError, match="is of another model than"):
        safescape.directions([runs[0], tmp_path / "model"])
    make_run(tmp_path / "plane", make_survey(prompts=4, subspace=random_plane(4)), chance=lambda *_: 0.0).close()
    with pytest.raises(InputError, match="is a plane; give scans along lines"):
        safescape.directions([runs[0], tmp_path / "plane"])
    make_run(tmp_path / "path", make_survey(prompts=4, subspace=path_line(4)), chance=lambda *_: 0.0).close()
    with pytest.raises(InputError, match="is a line to another model; give scans along lines"):
        safescape.directions([runs[0], tmp_path / "path"])
    with pytest.raises(InputError, match="1 run given; directions are compared of at least 2"):
        safescape.directions(runs[:1])


def test_runs_without_a_point_or_a_length_are_refused_and_unfinished_ones_drawn(
    runs: list[Path], tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"prompts": 40, "judges": (REFUSAL,), "also": further("perplexity", items=20)}
    make_run(tmp_path / "none", make_survey(subspace=GRADIENT, **asked), chance=lambda *_: 0.0, points=0).close()
    with pytest.raises(InputError, match="no point was measured in it yet"):
        safescape.directions([runs[0], tmp_path / "none"])
    gone = GRADIENT.model_copy(update={"axes": (GRADIENT.axes[0].model_copy(update={"length": None}),)})
    make_run(tmp_path / "early", make_survey(subspace=gone, **asked), chance=lambda *_: 0.0, points=2).close()
    with pytest.raises(InputError, match="did not store how long its direction is; scan anew"):
        safescape.directions([runs[0], tmp_path / "early"])
    make_run(tmp_path / "some", make_survey(subspace=GRADIENT, **asked), chance=lambda *_: 0.0, points=8).close()
    found = safescape.directions([runs[0], tmp_path / "some"])
    assert found.directions[1].radius.value is None
    assert found.directions[1].strict is None
    upper, lower = found.figure().axes
    # compliance is drawn of both, not the one's compliance beside the other's ASR
    assert upper.get_ylabel() == "% of requests complied with"
    assert len(drawn(lower)) == 1


def test_without_a_judge_that_tells_noise_the_asr_is_drawn(tmp_path: Path) -> None:
    given: dict[str, Any] = {"complies_from": 0.3, "able_to": 9.0, "judges": ("keyword",)}
    runs = [written(tmp_path / "one", None, **given), written(tmp_path / "two", TOWARD, **given)]
    (upper,) = safescape.directions(runs).figure().axes
    assert upper.get_ylabel() == "% of requests not refused"
