"""The page of a run that several judges read: every verdict, their agreement, and four outcomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.behaviours import bowl, four_outcomes, hostile_reasons, tuned, unread
from helpers.hostile_texts import HOSTILE
from helpers.pages import answers_block, assert_own_elements, data_in, page_of, prose, shown_answers
from helpers.runs import landscape_in, make_run
from helpers.surveys import PANEL, TWO_JUDGES, further, make_survey, path_line, path_plane, random_plane
from safescape.store import Store
from safescape.survey import Lines, Outcome, Plane, Verdict
from safescape.views.series.outcomes import shares_of


def judged(directory: Path, *, later: tuple[str, ...] = (PANEL,), **survey: Any) -> Store:
    given = make_survey(judges=TWO_JUDGES, **survey)
    return make_run(directory / "run", given, opinion=four_outcomes, later=later)


def four_figures(verdict: Verdict) -> float | None:
    return None if verdict.probability is None else round(verdict.probability, 4)


def test_the_page_has_the_verdicts_and_probabilities_of_every_judge(tmp_path: Path) -> None:
    store = judged(tmp_path, prompts=20, lines=1, steps=2)
    page = page_of(store)
    data = data_in(page)
    assert data["judges"] == ["keyword", "refusal", PANEL]
    assert data["judges"][data["finest"]] == "refusal"
    numbers = {point: number for number, point in enumerate(store.survey.points())}
    places = {point["id"]: place for place, point in enumerate(data["points"])}
    for point in store.survey.points():
        assert [answer.verdicts for answer in shown_answers(page, places[numbers[point]])] == [
            {name: (v[name].outcome, v[name].reason, four_figures(v[name])) for name in data["judges"]}
            for _, (_, v) in store.points.answers(point, "harmful")
        ]


def test_a_judge_that_has_not_read_an_answer_has_no_verdict_of_it(tmp_path: Path) -> None:
    opinion = unread("refusal", read_at_origin=True)
    survey = make_survey(prompts=4, lines=1, steps=2)
    data = data_in(page_of(make_run(tmp_path / "run", survey, opinion=opinion, later=("refusal",))))
    origin, far, _ = (point["answers"][0] for point in data["points"])
    assert far[1] == {"outcomes": "----", "probabilities": None}
    assert "-" not in origin[1]["outcomes"]


def test_the_page_has_the_agreement_of_each_pair_of_judges_at_each_point(tmp_path: Path) -> None:
    store = judged(tmp_path, prompts=20, lines=2, steps=4, also=further("attack:a.csv", "benign", items=8))
    landscape, data = landscape_in(store), data_in(page_of(store))
    assert [(found["judges"], found["probe"]) for found in data["agreement"]] == [
        (pair, probe) for probe in (0, 1) for pair in ([0, 1], [0, 2], [1, 2])
    ]
    first = landscape.agreement[0]
    assert [tuple(at) for at in data["agreement"][0]["at"]] == list(
        zip(first.n_at, first.agree_at, first.kappa_at, strict=True)
    )
    assert data["agreement"][0]["table"] == [list(row) for row in first.table]
    said = prose(page_of(store))
    for words in (
        "All judges read the same answers",
        "keyword × refusal",
        f"refusal × {PANEL}",
        "κ of outcomes",
        f"also read by refusal, {PANEL}",
    ):
        assert words in said


def test_the_stacked_outcomes_of_the_page_equal_those_of_the_figure(tmp_path: Path) -> None:
    store = judged(tmp_path, prompts=20, lines=3, steps=4)
    stack, (piece,) = data_in(page_of(store))["lines"]["stack"], shares_of(landscape_in(store))
    assert (stack["judge"], stack["shown"]) == ("refusal", ", mean of 3 directions")
    assert stack["pieces"] == [{"x": list(piece.x), "percent": {k: list(v) for k, v in piece.percent.items()}}]
    assert [reading["value"] for reading in stack["strict"][0]] == list(piece.percent[Outcome.COMPLIED])


def test_a_plane_has_a_layer_for_each_outcome(tmp_path: Path) -> None:
    survey = make_survey(prompts=20, subspace=random_plane(2), judges=TWO_JUDGES)
    store = make_run(tmp_path / "run", survey, chance=bowl, opinion=four_outcomes)
    layers = {layer["label"]: layer["values"] for layer in data_in(page_of(store))["plane"]["layers"]}
    shown = ["complied", "incoherent", "unscored", "refused"]
    assert list(layers) == ["ASR", *(f"{outcome}, refusal judge" for outcome in shown)]
    corner = next(p for p in landscape_in(store).points if p.coords == (-0.5, -0.5))
    for outcome in shown:
        assert layers[f"{outcome}, refusal judge"][0][0] == 5.0 * getattr(corner, outcome)


def test_a_run_with_one_judge_has_no_section_of_judges(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "run", make_survey(prompts=4, lines=1, steps=2)))
    assert 'id="judges"' not in page
    assert "also read by" not in prose(page)
    data = data_in(page)
    assert (data["agreement"], data["lines"]["stack"], data["finest"]) == ([], None, 0)


def test_names_and_reasons_of_judges_are_escaped(tmp_path: Path) -> None:
    name = HOSTILE[0] + HOSTILE[2]
    subspaces: tuple[Lines | Plane, ...] = (path_line(2), path_plane(2))
    for number, subspace in enumerate(subspaces):
        survey = make_survey(prompts=HOSTILE, subspace=subspace)
        store = make_run(tmp_path / str(number), survey, chance=tuned, opinion=hostile_reasons(name), later=(name,))
        page = page_of(store)
        assert_own_elements(page)
        data = data_in(page)
        assert data["judges"] == ["keyword", name]
        for point in data["points"]:
            assert set(answers_block(page, point["id"])["reasons"]) == set(HOSTILE)
        # labels for plotly have no markup
        stack = None if data["lines"] is None else data["lines"]["stack"]
        assert (stack is None) == (number == 1)
        assert not stack or not set("<>&{") & set(stack["judge"] + stack["shown"])


def test_the_provenance_has_the_revisions_of_judges(tmp_path: Path) -> None:
    judged(tmp_path, prompts=4, lines=1, steps=2, later=()).close()
    with Store.claim(tmp_path / "run", Store.read(tmp_path / "run").survey) as store:
        store.verdicts.register("harmbench", {"revision": "abc123"})
        unread = store.verdicts.missing("harmbench")
        store.verdicts.add("harmbench", {answer.response: Verdict(Outcome.REFUSED) for answer in unread})
    said = prose(page_of(Store.read(tmp_path / "run")))
    assert "Judges keyword refusal harmbench, revision: abc123" in said


def test_points_not_read_by_the_first_judge_have_no_figure(tmp_path: Path) -> None:
    survey = make_survey(prompts=4, lines=1, steps=2, judges=("harmbench", "refusal"))
    data = data_in(page_of(make_run(tmp_path / "run", survey, opinion=unread("harmbench", read_at_origin=True))))
    assert [point["figures"][0] is None for point in data["points"]] == [False, True, True]
