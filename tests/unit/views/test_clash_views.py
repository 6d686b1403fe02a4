"""Where the judges clash, every view goes by the refusal judge, says so and shows both figures; else none changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.behaviours import bowl, four_outcomes, missed_refusals
from helpers.figure_contents import curve, words
from helpers.pages import data_in, prose
from helpers.runs import comparison_in, landscape_in, make_run
from helpers.surveys import TWO_JUDGES, make_survey, random_plane
from safescape.exports.model_card import model_card
from safescape.store import Store
from safescape.views import (
    compose_run_list,
    draw,
    draw_comparison,
    draw_for_paper,
    figures_of,
    glance_of,
    notebook_of,
    render_comparison,
    render_page,
    row_of,
)
from safescape.views.text.comparison import findings_of
from safescape.views.text.verdict import SHOWN

CLASH = "The keyword judge counts 80 of 80 as answers; the refusal judge finds refusals in 80 of them"
SENTENCE = f"{CLASH}; the verdict goes by the refusal judge."


@pytest.fixture
def clashing(tmp_path: Path) -> Store:
    return make_run(tmp_path / "clashing", make_survey(judges=TWO_JUDGES), opinion=missed_refusals)


@pytest.fixture
def agreeing(tmp_path: Path) -> Store:
    return make_run(tmp_path / "agreeing", make_survey(judges=TWO_JUDGES), opinion=four_outcomes)


def seen(store: Store) -> dict[str, str]:
    """The text of every view of a run."""
    landscape = landscape_in(store)
    runs = compose_run_list(store.directory, [row_of("run", store, glance_of(landscape))], "")
    return {
        "page": prose(render_page(store, landscape)),
        "list": prose(runs.text),
        "notebook": notebook_of(landscape, store.directory),
        "card": model_card(store, landscape),
    }


def test_every_view_goes_by_the_refusal_judge_and_says_so(clashing: Store) -> None:
    for view in seen(clashing).values():
        assert SHOWN["safe"] in view
        assert SHOWN["unsafe"] not in view
        assert SENTENCE in view
    picture = words(draw(landscape_in(clashing)))
    assert SHOWN["safe"] in picture
    assert f"\n{CLASH}\n" in picture
    assert "refusal judge" in picture


def test_no_view_of_a_run_without_a_clash_mentions_one(agreeing: Store) -> None:
    picture = words(draw(landscape_in(agreeing)))
    for view in (*seen(agreeing).values(), picture):
        assert "as answers" not in view
        assert "by the keyword judge" not in view
    assert "· keyword judge" in picture
    assert not any(figure.keyword for figure in figures_of(landscape_in(agreeing)))


def test_both_figures_are_shown(clashing: Store) -> None:
    landscape = landscape_in(clashing)
    cards = {figure.key: (figure.value, figure.keyword) for figure in figures_of(landscape)}
    assert cards["origin_asr"] == ("0.0 %", "100.0 (95.4 to 100.0)")
    assert cards["visage"][1] == "0.0 (0.0 to 4.6)", "every point is at 100 % by the keyword judge"
    assert cards["basin_radius"][1] == "no basin"
    page = render_page(clashing, landscape)
    assert "0.0 to 4.6 %, by the refusal judge; 100.0 %, 95.4 to 100.0 %, by the keyword judge" in prose(page)
    lines = data_in(page)["lines"]
    assert {reading["value"] for piece in lines["keyword"] for reading in piece} == {100.0}
    assert lines["is_basin_shown"]
    assert "| ASR at the origin, keyword judge | 100.0 % | 95.4 to 100.0 |" in model_card(clashing, landscape)
    for figure, label in ((draw(landscape), "ASR by the keyword judge"), (draw_for_paper(landscape), "keyword judge")):
        assert {y for _, y in curve(figure, label)} == {100.0}


def test_a_plane_shows_both_figures(tmp_path: Path) -> None:
    survey = make_survey(judges=TWO_JUDGES, subspace=random_plane(4))
    store = make_run(tmp_path / "plane", survey, chance=bowl, opinion=missed_refusals)
    landscape = landscape_in(store)
    labels = [layer["label"] for layer in data_in(render_page(store, landscape))["plane"]["layers"]]
    assert labels[0] == "ASR"
    assert "ASR, keyword judge" in labels
    assert "ASR, keyword judge" in words(draw(landscape))


def test_a_comparison_goes_by_the_refusal_judge_in_all_of_its_runs(clashing: Store, agreeing: Store) -> None:
    comparison = comparison_in(agreeing, clashing)
    found = findings_of(comparison)
    assert "does not differ significantly" in found.headline
    assert [SENTENCE in run for run in found.runs] == [False, True]
    page = prose(render_comparison(comparison))
    assert SENTENCE in page
    assert "· refusal judge" in page
    assert "· refusal judge" in words(draw_comparison(comparison))


def test_a_page_by_the_refusal_judge_is_that_of_a_run_which_it_judged_first(clashing: Store, tmp_path: Path) -> None:
    survey = make_survey(judges=TWO_JUDGES[::-1])
    by_refusal = make_run(tmp_path / "first", survey, opinion=missed_refusals)
    pages = [
        prose(render_page(store, landscape_in(store))).replace(str(store.directory), "RUN")
        for store in (clashing, by_refusal)
    ]
    assert pages[0] == pages[1]
