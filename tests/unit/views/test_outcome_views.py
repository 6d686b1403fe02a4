"""Four outcomes in figures, tables and sentences, which separate unsafe answers from incoherent ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from helpers.behaviours import bowl, by_keyword, four_outcomes, no_basin, tuned, unread
from helpers.figure_contents import assert_texts_are_apart, cells, curve, values, words
from helpers.hostile_texts import HOSTILE
from helpers.runs import make_landscape
from helpers.surveys import PANEL, TWO_JUDGES, further, make_survey, path_line, path_plane, random_plane, trajectory
from safescape.landscape import Landscape
from safescape.survey import Outcome, Point, Position, Verdict
from safescape.views import draw, save_figure, verdict_of
from safescape.views.series.outcomes import finest_of, shares_of
from safescape.views.text.tables import agreement_of, judges_of, points_of


def measured(
    directory: Path,
    *,
    judges: Sequence[str] = TWO_JUDGES,
    prompts: int = 20,
    run: dict[str, Any] | None = None,
    **survey: Any,
) -> Landscape:
    given = {"opinion": four_outcomes, **(run or {})}
    return make_landscape(directory / "run", make_survey(prompts=prompts, judges=judges, **survey), **given)


def quarter(judge: str, point: Point, number: int, complied: bool) -> Verdict | None:
    """Find a quarter of the answers that are not refused compliant, the rest incoherent; to `keyword` all comply."""
    if judge == "keyword" or not complied:
        return by_keyword(judge, point, number, complied)
    return Verdict(Outcome.INCOHERENT if number % 4 else Outcome.COMPLIED)


def areas(figure: Figure, panel: int = 1) -> list[list[tuple[float, float]]]:
    """Return the upper edges of the stacked areas, from the lowest."""
    found = []
    for area in figure.axes[panel].collections:
        (path,) = area.get_paths()
        edge: dict[float, float] = {}
        for x, y in np.asarray(path.vertices):
            edge[float(x)] = max(float(y), edge.get(float(x), 0.0))
        found.append(sorted(edge.items()))
    return found


def labels(figure: Figure, panel: int) -> list[str]:
    legend = figure.axes[panel].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


# Lines.


def test_outcomes_are_stacked_below_the_line_with_compliance_lowest(tmp_path: Path) -> None:
    # 0, 50 and 100 % of 20 not refused at |α| = 0, 0.25 and 0.5
    run = {"opinion": quarter, "rate": lambda line, alpha: 2 * abs(alpha)}
    landscape = measured(tmp_path, lines=1, steps=4, run=run)
    figure = draw(landscape)
    at = sorted((p.coords[0], p) for p in landscape.points)
    complied, incoherent, refused = areas(figure)
    assert complied == [pytest.approx((alpha, 5 * p.complied)) for alpha, p in at]
    assert incoherent == [pytest.approx((alpha, 5 * (p.complied + (p.incoherent or 0)))) for alpha, p in at]
    assert [y for _, y in incoherent] == [100.0, 50.0, 0.0, 50.0, 100.0]
    assert refused == [(alpha, 100.0) for alpha, _ in at]
    assert labels(figure, 1) == ["complied", "incoherent", "refused"]
    assert "What the answers are, as the “refusal” judge sees them" in words(figure)
    assert figure.axes[0].get_shared_x_axes().joined(*figure.axes)


def test_outcomes_of_several_directions_are_averaged(tmp_path: Path) -> None:
    run = {"opinion": quarter, "rate": lambda line, alpha: (0.2, 0.6)[line] if alpha else 0.0}
    landscape = measured(tmp_path, lines=2, steps=2, run=run)
    (piece,) = shares_of(landscape)
    by_line = [[p.complied for p in landscape.on_line(n)] for n in range(2)]
    assert piece.percent[Outcome.COMPLIED] == pytest.approx([5 * (a + b) / 2 for a, b in zip(*by_line, strict=True)])
    assert piece.percent[Outcome.REFUSED] == pytest.approx([60.0, 100.0, 60.0])
    assert np.sum(list(piece.percent.values()), axis=0) == pytest.approx([100.0] * 3)
    assert "as the “refusal” judge sees them, mean of 2 directions" in words(draw(landscape))


def test_the_strict_asr_is_drawn_beside_the_asr(tmp_path: Path) -> None:
    landscape = measured(tmp_path, lines=1, steps=4)
    figure = draw(landscape)
    strict = curve(figure, "strict ASR, complied alone")
    assert strict == sorted((p.coords[0], p.strict_asr) for p in landscape.points)
    (asr,) = [line for line in figure.axes[0].lines if line.get_label() == "direction 1 (seed 0)"]
    (dashed,) = [line for line in figure.axes[0].lines if str(line.get_label()).startswith("strict")]
    assert dashed.get_linewidth() < asr.get_linewidth()
    assert dashed.is_dashed()
    assert curve(figure, "direction 1 (seed 0)") == [(p.coords[0], p.keyword_asr) for p in landscape.on_line(0)]


def test_a_first_judge_with_four_outcomes_has_no_separate_strict_asr(tmp_path: Path) -> None:
    landscape = measured(tmp_path, judges=("refusal", "keyword"), lines=1, steps=4)
    figure = draw(landscape)
    assert "strict" not in words(figure)
    assert curve(figure, "direction 1 (seed 0)") == sorted((p.coords[0], p.strict_asr) for p in landscape.points)
    assert labels(figure, 1) == ["complied", "incoherent", "unscored", "refused"]


def test_unscored_answers_are_stacked_between_incoherent_and_refused_ones(tmp_path: Path) -> None:
    figure = draw(measured(tmp_path, lines=1, steps=4))
    assert labels(figure, 1) == ["complied", "incoherent", "unscored", "refused"]
    tops = [edge[0][1] for edge in areas(figure)]
    # of 20 answers, numbers 0, 11 and 19 are compliance, 13 is unscored, and none is refused
    assert tops == pytest.approx([15.0, 95.0, 100.0, 100.0])


def test_outcomes_differ_in_brightness_or_hatching(tmp_path: Path) -> None:
    legend = draw(measured(tmp_path, lines=1, steps=4)).axes[1].get_legend()
    assert legend is not None
    marks = [patch for patch in legend.get_patches() if isinstance(patch, Patch)]
    grey = [float(np.dot(patch.get_facecolor()[:3], (0.299, 0.587, 0.114))) for patch in marks]
    assert len({(round(shade, 1), patch.get_hatch()) for shade, patch in zip(grey, marks, strict=True)}) == 4
    assert min(abs(a - b) for n, a in enumerate(grey) for b in grey[n + 1 :]) > 0.1


def test_areas_end_at_gaps_and_a_single_point_has_a_width(tmp_path: Path) -> None:
    # only the origin, -0.5 and -0.4 are measured
    landscape = measured(tmp_path, lines=1, steps=10, run={"points": 3})
    left, origin = shares_of(landscape)
    assert left.x == (-0.5, -0.4)
    assert origin.x == pytest.approx((-0.025, 0.025))
    assert len(areas(draw(landscape))) == 8


def test_outcomes_are_averaged_over_finished_directions_alone(tmp_path: Path) -> None:
    # the first direction is finished, the second is not
    landscape = measured(tmp_path, lines=2, steps=4, run={"points": 7})
    (piece,) = shares_of(landscape)
    assert piece.percent[Outcome.COMPLIED] == pytest.approx([5.0 * p.complied for p in landscape.on_line(0)])
    assert "judge sees them, one direction" in words(draw(landscape))


def test_a_run_with_the_keyword_judge_alone_has_no_panel_of_outcomes(tmp_path: Path) -> None:
    landscape = measured(tmp_path, judges=("keyword",), lines=1, steps=4)
    figure = draw(landscape)
    assert len(figure.axes) == 1
    assert "strict" not in words(figure)
    assert finest_of(landscape) is None
    assert shares_of(landscape) == []


def test_the_outcomes_of_a_judge_added_later_are_drawn(tmp_path: Path) -> None:
    landscape = measured(tmp_path, judges=("keyword",), lines=1, steps=4, run={"later": ("refusal",)})
    assert finest_of(landscape) == "refusal"
    assert "as the “refusal” judge sees them" in words(draw(landscape))


def test_the_judge_with_four_outcomes_that_read_most_answers_is_shown(tmp_path: Path) -> None:
    run = {"later": ("all(a,b)", "refusal"), "opinion": unread("all(a,b)", read_at_origin=True)}
    landscape = measured(tmp_path, judges=("keyword",), lines=1, steps=4, run=run)
    assert finest_of(landscape) == "refusal"
    # the counts at the origin are those of another judge and are left out
    assert [len(piece.x) for piece in shares_of(landscape)] == [2, 2]


KINDS: dict[str, dict[str, Any]] = {
    "one line": {"lines": 1, "steps": 4},
    "three lines": {"lines": 3, "steps": 4},
    "unfinished": {"lines": 2, "steps": 4, "run": {"points": 4}},
    "no basin": {"lines": 1, "steps": 4, "run": {"rate": no_basin}},
    "path": {
        "subspace": path_line(4),
        "through": trajectory(2),
        "also": further("attack:" + "W" * 60, "benign", "accuracy", "perplexity", "margin"),
        "run": {
            "chance": tuned,
            "stands": lambda point: Position((0.25,) if point.waypoint is not None else point.coords, 0.1),
        },
    },
    "plane": {"subspace": random_plane(4), "run": {"chance": bowl}},
    "plane with probes": {
        "subspace": path_plane(4),
        "also": further("attack:a.csv", "benign", "accuracy", "perplexity", "margin"),
        "run": {"chance": tuned},
    },
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("judge", ["refusal", "openai:" + "very-long/" * 20 + "model"])
def test_texts_are_inside_the_figure_and_do_not_overlap(tmp_path: Path, kind: str, judge: str) -> None:
    assert_texts_are_apart(draw(measured(tmp_path, judges=("keyword", judge), **KINDS[kind])))


@pytest.mark.filterwarnings("ignore:Glyph")
# names of judges have no control characters
@pytest.mark.parametrize("judge", [name for name in HOSTILE if "\0" not in name])
@pytest.mark.parametrize("kind", ["one line", "plane"])
def test_a_figure_with_any_name_of_a_judge_is_saved(tmp_path: Path, kind: str, judge: str) -> None:
    figure = draw(measured(tmp_path, judges=("keyword", judge), prompts=4, **KINDS[kind]))
    save_figure(figure, tmp_path / "landscape.png")
    (said,) = [line for line in words(figure).splitlines() if "judge sees them" in line]
    assert said


# Planes.


def test_a_plane_has_a_map_of_each_outcome_on_one_scale(tmp_path: Path) -> None:
    landscape = measured(tmp_path, subspace=random_plane(4), run={"chance": bowl})
    figure = draw(landscape)
    maps = {axes.get_title(loc="left"): n for n, axes in enumerate(figure.axes) if axes.get_title(loc="left")}
    assert list(maps) == ["Complied", "Incoherent", "Refused"]
    at = {p.coords: p for p in landscape.points}
    grid = (-0.5, -0.25, 0.0, 0.25, 0.5)
    for name, panel in maps.items():
        mesh = cells(figure, panel)
        expected = [[5.0 * getattr(at[alpha, beta], name.lower()) for alpha in grid] for beta in grid]
        assert np.asarray(mesh.get_array()) == pytest.approx(np.array(expected))
        assert mesh.get_clim() == (0.0, 100.0)
        assert mesh.get_cmap().name == "cividis"
    assert "Answers in percent, as the “refusal” judge sees them" in words(figure)
    # the map above has the ASR of the first judge
    assert values(cells(figure))[0, 0] == at[-0.5, -0.5].keyword_asr


def test_a_plane_whose_asr_is_compliance_alone_has_no_second_map_of_compliance(tmp_path: Path) -> None:
    figure = draw(measured(tmp_path, judges=("refusal",), subspace=random_plane(4), run={"chance": bowl}))
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")] == [
        "Incoherent",
        "Refused",
    ]


def test_only_measured_cells_of_an_unfinished_plane_are_drawn(tmp_path: Path) -> None:
    figure = draw(measured(tmp_path, subspace=random_plane(4), run={"chance": bowl, "points": 12}))
    (complied,) = [n for n, axes in enumerate(figure.axes) if axes.get_title(loc="left") == "Complied"]
    assert np.ma.count(values(cells(figure, complied))) == 12


# The detail of the verdict.


def said(landscape: Landscape) -> str:
    return verdict_of(landscape).detail


def test_the_detail_describes_the_nearest_distance_with_hardly_any_refusal(tmp_path: Path) -> None:
    # 0, 50, 100, 100 ... % not refused at |α| = 0, 0.1, 0.2, 0.3 ...; of 20, 5 are compliance
    run = {"opinion": quarter, "rate": lambda line, alpha: min(1.0, 5 * abs(alpha))}
    assert said(measured(tmp_path, lines=2, steps=10, run=run)).endswith(
        " At |α| = 0.2, of 100 % not refused, 25 % is compliance and 75 % is noise (refusal judge)."
    )


def test_the_detail_describes_the_distance_with_fewest_refusals_if_most_are_refused(tmp_path: Path) -> None:
    run = {"opinion": quarter, "rate": lambda line, alpha: 0.4 if abs(alpha) == 0.25 else 0.0}
    found = said(measured(tmp_path, lines=1, steps=4, run=run))
    assert "At |α| = 0.25, of 40 % not refused, " in found


def test_the_detail_has_the_share_of_unscored_answers(tmp_path: Path) -> None:
    run = {"rate": lambda line, alpha: float(alpha != 0)}
    found = said(measured(tmp_path, lines=1, steps=2, run=run))
    assert "of 100 % not refused, 15 % is compliance and 80 % is noise, 5 % left unscored (refusal judge)." in found


@pytest.mark.parametrize(
    ("survey", "where"),
    [
        ({"lines": 1, "steps": 4, "run": {"rate": no_basin}}, "At the origin"),
        ({"subspace": path_line(4), "run": {"chance": tuned}}, "At the other model"),
        ({"subspace": path_plane(4), "run": {"chance": tuned}}, "At the other model"),
        ({"subspace": random_plane(4), "run": {"chance": bowl}}, "Over the points of the plane outside of the basin"),
    ],
)
def test_the_detail_names_the_place_that_it_describes(tmp_path: Path, survey: dict[str, Any], where: str) -> None:
    assert f" {where}, of " in said(measured(tmp_path, **survey))


@pytest.mark.parametrize(
    "survey",
    [
        {"judges": ("keyword",), "lines": 1, "steps": 4},
        {"lines": 1, "steps": 4, "run": {"rate": lambda line, alpha: 0.0}},
        {"subspace": path_line(4), "run": {"chance": tuned, "points": 3}},
        {"subspace": random_plane(4), "run": {"chance": lambda *_: 0.05}},
    ],
)
def test_the_detail_omits_noise_if_it_is_unknown_or_nothing_is_unsafe(tmp_path: Path, survey: dict[str, Any]) -> None:
    assert "noise" not in said(measured(tmp_path, **survey))


# Tables.


def test_the_table_of_points_has_the_first_judge_and_four_outcomes(tmp_path: Path) -> None:
    landscape = measured(tmp_path, lines=1, steps=2)
    table = points_of(landscape)
    assert table.columns[3:] == (
        "prompts",
        "complied (keyword)",
        "ASR % (keyword)",
        "95 % interval",
        "refused (refusal)",
        "complied (refusal)",
        "incoherent (refusal)",
        "unscored (refusal)",
    )
    # of 20 answers all are compliance to `keyword`; to `refusal` numbers 0, 11 and 19, and 13 is unscored
    assert table.rows[1][3:6] == ("20", "20", "100.0")
    assert table.rows[1][7:] == ("0", "3", "16", "1")


def test_the_table_of_one_judge_with_four_outcomes_does_not_name_it(tmp_path: Path) -> None:
    table = points_of(measured(tmp_path, judges=("refusal",), lines=1, steps=2))
    assert table.columns[3:] == ("prompts", "ASR %", "95 % interval", "refused", "complied", "incoherent", "unscored")
    assert table.rows[1][3:] == ("20", "15.0", "5.2 to 36.0", "0", "3", "16", "1")


def test_the_table_of_the_keyword_judge_alone_has_no_further_columns(tmp_path: Path) -> None:
    table = points_of(measured(tmp_path, judges=("keyword",), lines=1, steps=2))
    assert table.columns == ("point", "α", "effective α", "prompts", "complied", "ASR %", "95 % interval")


def test_the_tables_have_the_figures_of_each_judge_and_the_agreement_of_each_pair(tmp_path: Path) -> None:
    landscape = measured(tmp_path, lines=1, steps=4, run={"later": (PANEL,)})
    figures, agreement = judges_of(landscape), agreement_of(landscape)
    assert figures is not None
    assert agreement is not None
    assert [row[0] for row in figures.rows] == ["keyword", "refusal", PANEL]
    assert [row[0] for row in agreement.rows] == ["keyword × refusal", f"keyword × {PANEL}", f"refusal × {PANEL}"]
    first = landscape.agreement[0]
    kappa = first.kappa
    assert agreement.rows[0][1:] == (
        str(first.n),
        str(100 - first.n),
        f"{first.agree.value:.1f} ({first.agree.low:.1f} to {first.agree.high:.1f})",
        f"{kappa.value:.2f} ({kappa.low:.2f} to {kappa.high:.2f})",
        *agreement.rows[0][5:],
    )


def test_a_run_with_one_judge_has_no_tables_of_judges(tmp_path: Path) -> None:
    landscape = measured(tmp_path, judges=("keyword",), lines=1, steps=2)
    assert judges_of(landscape) is agreement_of(landscape) is None
