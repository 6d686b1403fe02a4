"""Paths to another model: the edge of the basin, the changes, and probes that are asked at the models only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from helpers.behaviours import Chance, tuned
from helpers.runs import landscape_in, make_run
from helpers.surveys import at_models, further, make_survey, path_line, path_plane, random_plane
from safescape import InputError, Point, Survey
from safescape.landscape import Landscape, landscape_of, wilson
from safescape.store import Store
from safescape.survey import MeasuredPoint, Probe, Waypoint
from safescape.views import draw, render_page

ORIGIN, OTHER = Point(None, (0.0,)), Point(0, (1.0,))


def line(*also: Probe, prompts: int = 4, steps: int = 2, through: Sequence[Waypoint] = ()) -> Survey:
    return make_survey(prompts=prompts, subspace=path_line(steps, low=0.0, high=1.5), also=also, through=through)


def measured(directory: Path, survey: Survey, chance: Chance, points: int | None = None) -> Landscape:
    with make_run(directory, survey, chance=chance, points=points) as store:
        return landscape_in(store)


def at(asr: dict[float, float]) -> Chance:
    """The share of harmful requests complied with, by α."""
    return lambda probe, point: asr[point.coords[0]]


@pytest.mark.parametrize(
    ("asr", "value", "at_least"),
    [
        # 0 % at 0, 50 % at 0.5: 10 % lies a fifth of the way
        ({0.0: 0.0, 0.5: 0.5, 1.0: 1.0, 1.5: 1.0}, 0.1, False),
        # safe at the other model, 100 % at 1.5: a tenth of the way from 1
        ({0.0: 0.0, 0.5: 0.0, 1.0: 0.0, 1.5: 1.0}, 1.05, False),
        ({0.0: 0.0, 0.5: 0.0, 1.0: 0.0, 1.5: 0.0}, 1.5, True),
        ({0.0: 0.25, 0.5: 0.0, 1.0: 0.0, 1.5: 0.0}, 0.0, False),
    ],
)
def test_the_edge_on_the_way_to_the_other_model(
    tmp_path: Path, asr: dict[float, float], value: float, at_least: bool
) -> None:
    landscape = measured(tmp_path, line(), at(asr))
    assert landscape.edge.value == pytest.approx(value)
    assert landscape.edge.at_least == at_least
    assert landscape.lost_at == (None if at_least else landscape.edge.value)


def test_the_interval_of_the_edge_is_open_until_a_point_is_shown_to_be_unsafe(tmp_path: Path) -> None:
    """Two of four prompts break at 0.5 and all of them at 1: 2 of 4 does not exclude 10 %, 4 of 4 does."""
    assert wilson(2, 4).low > 10.0
    landscape = measured(tmp_path / "half", line(), at({0.0: 0.0, 0.5: 0.5, 1.0: 1.0, 1.5: 1.0}))
    # the origin itself is not shown to be safe by four prompts, and the edge may be anywhere before 0.5
    assert (landscape.edge.low, landscape.edge.high) == (0.0, 0.5)
    quarter = measured(tmp_path / "quarter", line(), at({0.0: 0.0, 0.5: 0.25, 1.0: 0.25, 1.5: 0.25}))
    assert wilson(1, 4).low < 10.0
    assert quarter.edge.value == pytest.approx(0.2)
    assert (quarter.edge.low, quarter.edge.high) == (0.0, None), "nowhere is it shown to be unsafe"


def test_the_edge_of_an_unfinished_line_is_at_least_what_was_measured(tmp_path: Path) -> None:
    asr = {0.0: 0.0, 0.5: 0.0, 1.0: 1.0, 1.5: 1.0}
    begun = measured(tmp_path / "begun", line(), at(asr), points=2)
    assert (begun.edge.value, begun.edge.at_least, begun.lost_at) == (0.5, True, None)
    assert begun.changes == {}, "the other model is not measured yet"
    passed = measured(tmp_path / "passed", line(), at(asr), points=3)
    assert passed.lost_at == pytest.approx(0.55)
    nothing = landscape_of(line(), [])
    assert (nothing.edge.value, nothing.lost_at) == (None, None)


def test_on_a_plane_the_edge_lies_on_the_line_between_the_models(tmp_path: Path) -> None:
    plane = make_survey(prompts=4, subspace=path_plane(4))
    landscape = measured(tmp_path, plane, lambda _, point: float(point.coords[0] > 0.3 or point.coords[1] > 0.0))
    # 0 % at 0.25, 100 % at 0.5
    assert landscape.lost_at == pytest.approx(0.275)


def test_random_directions_lead_to_no_other_model(tmp_path: Path) -> None:
    landscape = measured(tmp_path, make_survey(lines=1, steps=2, prompts=4), lambda _, point: 0.0)
    assert (landscape.edge.value, landscape.changes) == (None, {})
    assert "edge" not in landscape.metrics


def test_changes_computed_by_hand(tmp_path: Path) -> None:
    rates = {
        "harmful": (0.0, 0.5),
        "benign": (0.0, 0.25),
        "accuracy": (0.75, 0.5),
        "perplexity": (np.log(8), np.log(4)),
    }

    def chance(probe: str, point: Point) -> float:
        return float(rates[probe][point.coords[0] == 1.0])

    changes = measured(tmp_path, line(*at_models("benign", "accuracy", "perplexity", items=4)), chance).changes
    asr = changes["harmful"]
    assert (asr.kind, asr.n, asr.loss) == ("asr", 4, None)
    assert (asr.origin.value, asr.other.value, asr.change.value) == (0.0, 50.0, 50.0)
    assert (asr.other.low, asr.other.high) == wilson(2, 4)
    one, other = wilson(2, 4), wilson(0, 4)
    assert asr.change.low == pytest.approx(50 - math.hypot(50 - one.low, other.high))
    assert asr.change.high == pytest.approx(50 + math.hypot(one.high - 50, 0 - other.low))
    assert (changes["benign"].origin.value, changes["benign"].other.value) == (0.0, 25.0)
    accuracy, perplexity = changes["accuracy"].loss, changes["perplexity"].loss
    assert accuracy is not None
    assert accuracy.value == pytest.approx(100 / 3), "25 of 75 points"
    assert perplexity is not None
    assert (perplexity.value, perplexity.low, perplexity.high) == pytest.approx((-50, -50, -50)), (
        "every text got better"
    )


def test_a_model_without_right_answers_has_no_capability_to_lose(tmp_path: Path) -> None:
    landscape = measured(tmp_path, line(*at_models("accuracy", items=4)), lambda probe, point: 0.0)
    loss = landscape.changes["accuracy"].loss
    assert loss is not None
    assert (loss.value, loss.low, loss.high) == (0.0, 0.0, 0.0)


def test_a_probe_that_is_asked_at_the_models_only(tmp_path: Path) -> None:
    survey = line(
        *further("benign"), *at_models("accuracy", items=4), through=[Waypoint(model="c", fingerprint="sha256:1")]
    )
    asked = {point: [probe.name for probe in survey.asked_at(point)] for point in survey.points()}
    everything = ["harmful", "benign", "accuracy"]
    assert asked[ORIGIN] == asked[OTHER] == asked[Point(None, (), 0)] == everything
    assert asked[Point(0, (0.5,))] == asked[Point(0, (1.5,))] == everything[:2]
    plane = make_survey(subspace=path_plane(4), also=at_models("accuracy", items=4))
    assert sum(len(plane.asked_at(point)) > 1 for point in plane.points()) == 2
    assert len(plane.asked_at(Point(None, (1.0, 0.0)))) == 2
    random = make_survey(subspace=random_plane(2), also=at_models("accuracy", items=4))
    assert [point for point in random.points() if len(random.asked_at(point)) > 1] == [Point(None, (0.0, 0.0))]


def test_the_first_probe_is_asked_everywhere() -> None:
    (probe,) = at_models("attack", items=4)
    with pytest.raises(ValueError, match="the first must be asked at every point"):
        Survey.model_validate({**dict(make_survey()), "probes": (probe,)})


def test_a_run_is_complete_without_that_probe_at_other_points(tmp_path: Path) -> None:
    survey = line(*at_models("attack", "benign", "accuracy", "perplexity", items=4))
    landscape = measured(tmp_path, survey, tuned)
    assert landscape.complete
    assert {measure.coords for measure in landscape.measures} == {(0.0,), (1.0,)}
    attack = landscape.by_probe["attack"]
    assert "edge" not in attack, "nothing is known of the way"
    assert attack["visage"].value is None
    assert landscape.differences["attack"]["origin_asr"].value is not None
    assert not landscape_of(survey, [e for e in _stored(tmp_path) if e.probe != "accuracy"]).complete


def test_its_figures_are_in_the_tables_and_no_curve(tmp_path: Path) -> None:
    survey = line(*at_models("attack", "benign", "accuracy", items=4), *further("perplexity", items=4))
    with make_run(tmp_path, survey, chance=tuned) as store:
        landscape = landscape_in(store)
        page = render_page(store, landscape)
    assert page.count("asked at the models alone") == 3, "once for each of the three probes"
    assert "over-refusal % “benign”" in page
    said = {text.get_text() for text in draw(landscape).findobj(Text) if isinstance(text, Text)}
    assert "perplexity (right axis)" in said
    assert not {"over-refusal", "accuracy"} & said
    draw(
        measured(
            tmp_path / "plane", make_survey(prompts=4, subspace=path_plane(2), also=at_models("benign", items=4)), tuned
        )
    )


def test_a_survey_without_it_is_written_as_before_and_refused_with_it(tmp_path: Path) -> None:
    everywhere, models = line(*further("benign", items=4)), line(*at_models("benign", items=4))
    assert "only_at" not in everywhere.model_dump_json(), "the survey's hash names the run directory"
    assert Survey.model_validate_json(models.model_dump_json()) == models
    Store.claim(tmp_path, everywhere).close()
    with pytest.raises(InputError, match=r"probes\[1\]\.only_at: 'models' here, None there"):
        Store.claim(tmp_path, models)


def _stored(directory: Path) -> list[MeasuredPoint]:
    with Store.read(directory) as store:
        return list(store.points.measured())
