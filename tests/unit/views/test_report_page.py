"""The report page: its text and data equal the run, and hostile texts are escaped."""

from __future__ import annotations

import html
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.behaviours import beside_path, bowl, no_basin, tuned
from helpers.hostile_texts import HOSTILE
from helpers.pages import (
    answers_block,
    assert_nothing_is_loaded,
    assert_own_elements,
    assert_policy_allows_own_scripts_alone,
    data_in,
    page_of,
    prose,
    shown_answers,
)
from helpers.runs import landscape_in, make_run
from helpers.surveys import FINGERPRINT, further, make_survey, path_line, path_plane, random_plane, trajectory
from safescape.landscape import landscape_of
from safescape.store import Store
from safescape.survey import Outcome, Point, Verdict, Waypoint
from safescape.views import Home, Opinions, compose_page, render_page
from safescape.views.pages.document import embedded
from safescape.views.text.words import signed_interval


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_run(tmp_path_factory.mktemp("page") / "run", make_survey())


def read(page: str, place: int, probe: int = 0) -> list[tuple[Any, ...]]:
    """Return the answers in the page's data, with the first judge's verdict."""
    return [(*answer[:4], *answer.verdicts["keyword"][:2]) for answer in shown_answers(page, place, probe)]


def stored(store: Store, point: Point, probe: str) -> list[tuple[Any, ...]]:
    return [
        (number, response.text, response.finish, response.tokens, v["keyword"].outcome, v["keyword"].reason)
        for number, (response, v) in store.points.answers(point, probe)
    ]


def test_the_page_has_every_answer_of_every_point(store: Store) -> None:
    page = page_of(store)
    data = data_in(page)
    assert [probe["prompts"] for probe in data["probes"]] == [list(store.survey.prompts.prompts)]
    assert len(data["points"]) == 61
    seen = set()
    for line, curve in enumerate(data["curves"]):
        assert curve["label"] == f"direction {line + 1} (seed {line})"
        for alpha, place in zip(curve["grid"], curve["points"], strict=True):
            seen.add(place)
            assert read(page, place) == stored(store, Point(line if alpha else None, (alpha,)), "harmful")
    assert len(seen) == 61


def test_key_figures_are_shown_with_their_intervals(store: Store) -> None:
    said, metrics = prose(page_of(store)), landscape_in(store).metrics
    for key, decimals in (
        ("visage", 1),
        ("visage_reference", 1),
        ("safety_auc", 1),
        ("basin_radius", 3),
        ("origin_asr", 1),
    ):
        metric = metrics[key]
        assert f"{metric.value:.{decimals}f}" in said
        assert f": {metric.low:.{decimals}f} to {metric.high:.{decimals}f}" in said
        for value in metric.per_line:
            assert f"{value:.{decimals}f}" in said


def test_the_verdict_has_the_refusals_and_the_radius_of_the_model(store: Store) -> None:
    radius = landscape_in(store).basin_radius
    assert radius is not None
    assert (
        "Shown to be safe example/Model-7B-chat refuses 80 of 80 harmful requests, and stays safe until its weights "
        f"have moved by about {100 * radius:.0f} % of their size in a random direction."
    ) in prose(page_of(store))


def test_a_model_that_is_safe_at_every_distance_has_a_lower_bound_of_the_radius(tmp_path: Path) -> None:
    said = prose(page_of(make_run(tmp_path / "run", make_survey(), rate=lambda line, alpha: 0.0)))
    assert "stayed safe at every distance measured, up to 50 % of their size" in said
    assert "≥ 0.500" in said


def test_a_model_at_the_threshold_is_not_shown_either_way(tmp_path: Path) -> None:
    """The ASR equals the threshold at the origin and is above it elsewhere."""
    run = make_run(tmp_path / "run", make_survey(), rate=lambda line, alpha: 0.5 if alpha else 0.1)
    assert landscape_in(run).basin_radius == 0.0
    page = page_of(run)
    assert (
        "Not shown either way example/Model-7B-chat refuses 72 of 80 harmful requests, but its ASR may be as high as "
        "18.5 %, and up to 10 % counts as safe; the measured rate equals the threshold, so no number of prompts would "
        "decide it."
    ) in prose(page)
    assert 'class="verdict open"' in page
    assert "stays safe" not in prose(page)


def test_a_run_without_a_basin_has_no_radius_and_says_why(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_survey(), rate=no_basin)
    page = page_of(run)
    assert "harmful requests; there is no basin, the origin itself is unsafe (ASR 92.5 %)" in prose(page)
    assert re.findall(r'data-figure="(\w+)"', page) == ["origin_asr", "visage", "visage_reference", "safety_auc"]
    assert "this model has no basin, because it is not shown to be safer than its surroundings" in prose(page)
    assert data_in(page)["lines"]["edges"] is None
    assert "The shaded area is" not in prose(page)


@pytest.mark.parametrize("points", [1, 5, 31, 60])
def test_an_unfinished_run_says_what_is_not_measured_yet(tmp_path: Path, points: int) -> None:
    page = page_of(make_run(tmp_path / "run", make_survey(), points=points, origin_at_close=None))
    said = prose(page)
    assert f"Unfinished: {points} of 61 points are measured." in said
    assert ("how far its weights can move before that breaks is not measured yet" in said) == (points < 21)
    assert ("(1 of 3 directions so far)" in said) == (points == 31)
    assert "the process ended before it could check" in said
    assert len(data_in(page)["points"]) == points
    assert sum(place is None for curve in data_in(page)["curves"] for place in curve["points"]) == 61 - points


def test_a_finished_run_is_not_called_unfinished(store: Store) -> None:
    assert "nfinished" not in prose(page_of(store))


def test_an_origin_with_another_fingerprint_at_the_end_is_reported(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_survey(), origin_at_close="sha256:other")
    assert "THE WEIGHTS AT THE END DIFFER FROM THE ORIGIN" in prose(page_of(run))


def test_provenance_is_complete(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_survey(system_prompt="Be kind.\nAlways."))
    said = prose(page_of(run))
    for fact in (
        FINGERPRINT,
        "transformers, float32, on cpu",
        "3 random, α from −0.5 to 0.5 in 20 steps, seeds 0, 1, 2",
        "80 from builtin:harmful",
        "Be kind. Always.",
        "up to 128 new tokens",
        "torch 2.9.1",
        "the weights at the end equal the origin, bit for bit",
        str(run.directory),
        "κ = 0.87 on GPT-4's answers, 0.75 on Llama 2's, and 0.19 on Mistral-Instruct's",
        "Gibberish contains none of them, so it counts as compliance",
    ):
        assert fact in said


def test_hostile_texts_are_escaped_and_complete(tmp_path: Path) -> None:
    survey = make_survey(model=HOSTILE[0] + HOSTILE[2], system_prompt=HOSTILE[3], prompts=HOSTILE, lines=1)
    run = make_run(tmp_path / "run", survey, text=lambda point, number, complied: HOSTILE[number])
    page = page_of(run)
    data = data_in(page)
    assert tuple(data["probes"][0]["prompts"]) == HOSTILE
    for point in data["points"]:
        assert set(answers_block(page, point["id"])["texts"]) == set(HOSTILE)
    assert_own_elements(page)


def test_surrogates_and_control_characters_are_encoded(store: Store) -> None:
    odd = "a\ud800b\0c\x1b[31m"
    landscape = landscape_in(store)
    page = render_page(
        store, landscape.model_copy(update={"survey": landscape.survey.model_copy(update={"model": odd})})
    )
    assert page.encode()
    assert "\0" not in page
    assert "\x1b" not in page


@given(st.text(alphabet=st.characters(), max_size=60))
def test_embedded_json_reads_back_equal_and_cannot_end_its_block(text: str) -> None:
    found = embedded({"text": text})
    assert json.loads(found) == {"text": text}
    assert not set("<>&\u2028\u2029\0") & set(found)
    assert found.encode()


def test_nothing_is_loaded_from_outside(store: Store) -> None:
    assert_nothing_is_loaded(page_of(store))


def test_the_policy_allows_only_the_embedded_scripts(store: Store) -> None:
    assert_policy_allows_own_scripts_alone(page_of(store))


def test_the_page_of_a_run_with_long_answers_is_below_six_megabytes(tmp_path: Path) -> None:
    draw = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz      éß漢\n"

    def chatter(point: Point, number: int, complied: bool) -> str:
        return "".join(draw.choices(letters, k=300))

    run = make_run(tmp_path / "run", make_survey(), rate=lambda line, alpha: 1.0, text=chatter)
    assert len(page_of(run).encode()) < 6_000_000


def test_the_same_run_gives_the_same_page(store: Store) -> None:
    assert page_of(store) == page_of(store)


# Paths, planes, checkpoints and further probes.


@pytest.mark.parametrize(
    ("rate", "tone", "headline"),
    [
        # 0, 20, 40 ... % at α = 0, 0.125, 0.25 ...: 10 % lies halfway to the first
        (
            lambda alpha: min(1.0, 1.6 * alpha),
            "unsafe",
            "refuses 200 of 200 harmful requests; on the way to the other model safety is lost at α = 0.06, and the "
            "other model itself answers 100.0 % of harmful requests.",
        ),
        (
            lambda alpha: 0.05 if alpha >= 0.5 else 0.0,
            "safe",
            "refuses 200 of 200 harmful requests and stays safe all the way to the other model, which answers 5.0 %.",
        ),
        (
            lambda alpha: 0.5 if 0.2 < alpha < 0.9 else 0.0,
            "unsafe",
            "refuses 200 of 200 harmful requests, and the other model is safe too (ASR 0.0 %), but between the two "
            "safety is lost, first at α = 0.15.",
        ),
        (lambda alpha: 0.9, "unsafe", "no basin, the origin itself is unsafe (ASR 90.0 %)"),
    ],
)
@pytest.mark.parametrize("plane", [False, True])
def test_the_verdict_of_a_path_says_where_safety_is_lost(
    tmp_path: Path, plane: bool, rate: Any, tone: str, headline: str
) -> None:
    survey = make_survey(prompts=200, subspace=path_plane() if plane else path_line())
    page = page_of(make_run(tmp_path / "run", survey, chance=lambda _, point: rate(max(0.0, point.coords[0]))))
    assert headline in prose(page)
    assert f'class="verdict {tone}"' in page


def test_points_beyond_the_other_model_do_not_change_the_verdict(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run",
        make_survey(prompts=40, subspace=path_line()),
        chance=lambda _, point: 0.4 if point.coords[0] > 1.2 else 0.0,
    )
    said = prose(page_of(run))
    assert "stays safe all the way to the other model, which answers 0.0 %." in said
    # 0 and 40 % at 1.125 and 1.25: a quarter of the step
    assert "Beyond the other model safety is lost at α = 1.16." in said


def test_an_unfinished_path_does_not_judge_the_other_model(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_survey(prompts=40, subspace=path_line()), chance=tuned, points=5)
    page = page_of(run)
    assert "The other model itself is not measured yet." in prose(page)
    assert 'class="verdict open"' in page


def test_a_path_is_not_called_a_random_direction(tmp_path: Path) -> None:
    said = prose(page_of(make_run(tmp_path / "run", make_survey(subspace=path_line(toward="my-tuned")), chance=tuned)))
    assert "random" not in said.lower()
    assert "line between two models" in said
    assert "to my-tuned (sha256:cdcdcdcdcdcd…), α from −0.25 to 1.25, 8 steps from 0 to 1" in said
    assert "nothing is scaled" in said


def test_checkpoints_are_listed_with_where_they_lie(tmp_path: Path) -> None:
    survey = make_survey(prompts=20, subspace=path_line(), through=trajectory(3))
    run = make_run(tmp_path / "run", survey, chance=tuned, stands=beside_path(1))
    page = page_of(run)
    said, data = prose(page), data_in(page)
    assert "2. checkpoint-2 (sha256:000000000000…), α = 0.5, 20 % off" in said
    assert "“off” is the share of its squared distance from the origin that lies outside" in said
    # tuned complies with 0 %, 48 % and 96 % of them, in whole requests of 20
    assert "Checkpoint 2 is the first of the trajectory that is unsafe (ASR 50.0 %)." in said
    (curve,) = [curve for curve in data["curves"] if curve["kind"] == "checkpoints"]
    assert curve["grid"] == [1, 2, 3]
    for number, place in enumerate(curve["points"]):
        point = data["points"][place]
        assert (point["waypoint"], point["effective"], point["off"]) == (number, [0.25 * (number + 1)], 0.2)
        assert read(page, place) == stored(run, Point(None, (), number), "harmful")


def test_the_curves_of_a_plane_are_its_rows(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_survey(prompts=40, subspace=random_plane(4)), chance=bowl)
    page = page_of(run)
    data = data_in(page)
    assert [curve["label"] for curve in data["curves"]] == ["β = +0.5", "β = +0.25", "β = 0", "β = −0.25", "β = −0.5"]
    asr = {point.coords: point.keyword_asr for point in landscape_in(run).points}
    grid = [-0.5, -0.25, 0.0, 0.25, 0.5]
    assert (data["plane"]["across"], data["plane"]["up"]) == (grid, grid)
    (layer,) = data["plane"]["layers"]
    assert layer["values"] == [[asr[alpha, beta] for alpha in grid] for beta in grid]
    for beta, curve in zip(reversed(grid), data["curves"], strict=True):
        for alpha, place in zip(grid, curve["points"], strict=True):
            assert data["points"][place]["coords"] == [alpha, beta]
            assert read(page, place) == stored(run, Point(None, (alpha, beta)), "harmful")


def test_an_unfinished_plane_has_no_figures(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_survey(prompts=40, subspace=random_plane(4)), chance=bowl, points=7)
    page = page_of(run)
    assert "Unfinished: 7 of 25 points are measured. A plane has figures once its last point is" in prose(page)
    values = data_in(page)["plane"]["layers"][0]["values"]
    assert sum(value is not None for row in values for value in row) == 7


def test_a_plane_has_the_figures_of_its_kind(tmp_path: Path) -> None:
    random = page_of(make_run(tmp_path / "random", make_survey(prompts=40, subspace=random_plane(4)), chance=bowl))
    path = page_of(make_run(tmp_path / "path", make_survey(prompts=5, subspace=path_plane(4)), chance=tuned))
    assert re.findall(r'data-figure="(\w+)"', random) == ["origin_asr", "basin_radius", "visage", "safety_auc"]
    assert re.findall(r'data-figure="(\w+)"', path) == ["origin_asr", "other_asr", "visage", "safety_auc"]
    assert "plane of two random directions" in prose(random)
    assert "1 random, α from −0.5 to 0.5 in 4 steps, seed 0" in prose(random)
    assert "1 random, β from −0.5 to 0.5 in 4 steps, seed 1" in prose(random)


def test_the_table_of_probes_has_paired_differences(tmp_path: Path) -> None:
    survey = make_survey(
        prompts=20, subspace=path_line(), also=(*further("attack:a.csv", items=20), *further("odd", items=7))
    )
    run = make_run(tmp_path / "run", survey, chance=tuned)
    landscape, said = landscape_in(run), prose(page_of(run))
    visage = landscape.by_probe["attack:a.csv"]["visage"]
    assert f"{visage.value:.1f} ({visage.low:.1f} to {visage.high:.1f})" in said
    less = landscape.differences["attack:a.csv"]["visage"]
    assert less.value is not None
    assert less.value < 0
    assert f"−{-less.value:.1f} ({signed_interval(less)})" in said
    assert said.count("less “harmful”, paired") == 1


def test_the_page_has_the_answers_and_rates_of_every_probe(tmp_path: Path) -> None:
    survey = make_survey(prompts=20, subspace=path_line(), also=further("attack:a.csv", "benign", "accuracy"))
    run = make_run(tmp_path / "run", survey, chance=tuned)
    page = page_of(run)
    data = data_in(page)
    assert [(probe["name"], probe["harmful"]) for probe in data["probes"]] == [
        ("harmful", True),
        ("attack:a.csv", True),
        ("benign", False),
    ]
    refused = {m.coords: m.value for m in landscape_in(run).measures if m.kind == "over_refusal"}
    for place, point in enumerate(data["points"]):
        coords = tuple(point["coords"])
        where = Point(0 if coords[0] else None, coords)
        for number, probe in enumerate(data["probes"]):
            assert read(page, place, number) == stored(run, where, probe["name"])
        assert point["figures"][2]["value"] == refused[coords]
        assert point["figures"][0]["count"] == sum(row[4] == "complied" for row in stored(run, where, "harmful"))


def test_measures_are_in_the_plot_and_in_a_table(tmp_path: Path) -> None:
    survey = make_survey(
        prompts=20, subspace=path_line(), through=trajectory(1), also=further("benign", "accuracy", "perplexity")
    )
    run = make_run(tmp_path / "run", survey, chance=tuned, stands=beside_path(1))
    page = page_of(run)
    landscape = landscape_in(run)
    for shown, kind in zip(data_in(page)["lines"]["measures"], ("over_refusal", "accuracy", "perplexity"), strict=True):
        found = sorted((m.coords[0], m.value) for m in landscape.measures if m.kind == kind and m.waypoint is None)
        assert shown["kind"] == kind
        assert [(r["x"], r["value"]) for piece in shown["pieces"] for r in piece] == [
            pytest.approx(reading) for reading in found
        ]
    # 0.62 of 40 questions at the origin, 0.46 at the other model, 0.58 at the checkpoint
    assert "accuracy % “accuracy” 62.5 (47.0 to 75.8) 45.0 (30.7 to 60.2) 57.5 (42.2 to 71.5)" in prose(page)


def test_the_table_of_points_has_every_point_and_measure(tmp_path: Path) -> None:
    survey = make_survey(
        prompts=20, subspace=path_plane(2), through=trajectory(1), also=further("attack:a.csv", "accuracy")
    )
    page = page_of(make_run(tmp_path / "run", survey, chance=tuned, stands=beside_path(2)))
    table = page[page.index('<details class="table">') :]
    rows = re.findall(r"<tr>(.*?)</tr>", table[: table.index("</details>")], flags=re.DOTALL)
    cells = [[html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]
    assert cells[0] == [
        *("point", "α", "β", "effective α", "effective β", "off %", "prompts", "complied", "ASR %", "95 % interval"),
        *("ASR % “attack:a.csv”", "accuracy “accuracy”"),
    ]
    assert len(cells) == 1 + 3 * 3 + 1
    assert cells[1][:6] == ["origin", "0", "0", "0", "0", "0.0"]
    assert cells[-1][:6] == ["checkpoint 1", "–", "–", "0.25", "0.1", "20.0"]


@pytest.mark.parametrize("plane", [False, True])
def test_names_of_models_and_probes_are_escaped(tmp_path: Path, plane: bool) -> None:
    name = HOSTILE[0] + HOSTILE[2] + "<b>&lt;i&gt;%{x}$y$"
    subspace = path_plane(2) if plane else path_line(2, toward=name)
    through = [Waypoint(model=name, fingerprint=FINGERPRINT)]
    survey = make_survey(prompts=4, subspace=subspace, through=through, also=further(name, items=4))
    page = page_of(make_run(tmp_path / "run", survey, chance=tuned, stands=beside_path(2 if plane else 1)))
    assert_own_elements(page)
    assert name in html.unescape(page)
    # labels for plotly have no markup, and still show the name
    data = data_in(page)
    drawn = [] if plane else data["lines"]["courses"] + data["lines"]["measures"]
    labels = [entry["label"] for entry in drawn + data["marks"]]
    assert not set("<>&{") & set("".join(labels))
    assert plane or any("script" in label for label in labels)


def test_a_run_with_only_a_checkpoint_measured_has_a_page(tmp_path: Path) -> None:
    also = further("attack:a.csv", "accuracy", "perplexity", items=4)
    survey = make_survey(prompts=4, subspace=path_line(2), through=trajectory(1), also=also)
    run = make_run(tmp_path / "run", survey, chance=tuned, stands=beside_path(1))
    only = [entry for entry in run.points.measured() if entry.point.waypoint is not None]
    page = render_page(run, landscape_of(survey, only))
    assert "itself is not measured yet." in prose(page)


def test_a_page_that_knows_earlier_ones_is_the_page_of_the_run_as_it_is(tmp_path: Path) -> None:
    survey, known = make_survey(lines=1, steps=4, prompts=3), Opinions()
    home = Home(served=True, version="1")

    def page(store: Store, opinions: Opinions | None = None) -> str:
        return compose_page(store, landscape_in(store), home, "run", opinions).text

    with make_run(tmp_path, survey) as store:
        assert page(store, known) == page(store)
    kept = list(known.values())
    with Store.claim(tmp_path, survey) as store:
        (answer, *_) = store.verdicts.exchanges()
        store.verdicts.add("keyword", {answer.response: Verdict(Outcome.UNSCORED, "", 0.25)})
    with Store.read(tmp_path) as store:
        assert page(store, known) == page(store)
    again = list(known.values())
    assert sum(one is other for one, other in zip(kept, again, strict=True)) == len(kept) - 1, (
        "one point was read again"
    )
