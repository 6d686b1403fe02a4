"""landscape.json keeps its bytes: files written by earlier versions are read and written again unchanged.

The intervals of `path-bootstrap.json` and `adaptive-bootstrap.json` are those of version 0.1, by a bootstrap.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from helpers.behaviours import four_outcomes, tuned
from helpers.runs import landscape_in, make_run
from helpers.surveys import at_models, further, make_survey, path_line, trajectory
from safescape.landscape import Landscape
from safescape.store import Store
from safescape.survey import Adaptive

STORED = Path(__file__).parent / "stored"


def path_run(directory: Path) -> Store:
    """The run whose landscape is stored in path.json."""
    also = (*further("attack", items=8), *at_models("perplexity", "benign", items=4))
    survey = make_survey(
        subspace=path_line(2, low=0.0, high=1.0),
        prompts=8,
        through=trajectory(1),
        also=also,
        judges=("keyword", "refusal"),
        dtype="bfloat16",
    )
    return make_run(directory, survey, chance=tuned, opinion=four_outcomes)


def adaptive_run(directory: Path) -> Store:
    """The run whose landscape is stored in adaptive.json."""
    adaptive = Adaptive(directions=1, safe_below=10, interval=30)
    return make_run(directory, make_survey(lines=2, steps=8, prompts=8, adaptive=adaptive))


def test_a_run_gives_the_stored_bytes(tmp_path: Path) -> None:
    for name, run in (("path", path_run(tmp_path / "path")), ("adaptive", adaptive_run(tmp_path / "adaptive"))):
        document = json.loads(landscape_in(run).to_json())
        assert document.pop("threshold") == {"value": 10.0, "kind": "absolute", "has_basin": True}
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        assert text == (STORED / f"{name}.json").read_text(encoding="utf-8"), "keys are only ever added"


@pytest.mark.parametrize("name", ["path", "adaptive", "path-bootstrap", "adaptive-bootstrap"])
def test_a_stored_landscape_is_written_again_with_the_same_bytes(name: str) -> None:
    file = STORED / f"{name}.json"
    assert Landscape.load(file).to_json() == file.read_text(encoding="utf-8")


def test_the_survey_of_a_landscape_is_typed() -> None:
    path, adaptive = (Landscape.load(STORED / f"{name}.json").survey for name in ("path", "adaptive"))
    assert (path.model, path.dtype, path.judges) == ("example/Model-7B-chat", "bfloat16", ("keyword", "refusal"))
    assert [waypoint.model for waypoint in path.through] == ["checkpoint-1"]
    assert [probe.name for probe in path.probes] == ["harmful", "attack", "perplexity", "benign"]
    assert path.only_at_models == {"perplexity", "benign"}
    assert path.adaptive is None
    assert adaptive.adaptive is not None
    assert adaptive.adaptive.interval == 30
    with pytest.raises(ValidationError, match="frozen"):
        path.model = "another"


def test_unknown_and_absent_keys_of_the_survey_stay_as_they_are(tmp_path: Path) -> None:
    document = json.loads((STORED / "path.json").read_text(encoding="utf-8"))
    survey = document["survey"]
    absent = {"engine", "whole_answers", "through"}
    survey = {"added_first": [1, {"b": None, "a": 0.5}], **{k: v for k, v in survey.items() if k not in absent}}
    survey["probes"][0] = {"added": {"x": [True]}, **survey["probes"][0], "last": 1.0}
    document["survey"] = {**survey, "added_last": "é\u2028"}
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (tmp_path / "landscape.json").write_text(text, encoding="utf-8")
    landscape = Landscape.load(tmp_path / "landscape.json")
    assert landscape.survey.through == ()
    assert landscape.to_json() == text


def test_a_replaced_value_of_the_survey_is_written() -> None:
    survey = Landscape.load(STORED / "path.json").survey
    written = survey.model_copy(update={"model": "another", "adaptive": None}).model_dump(mode="json")
    assert written["model"] == "another"
    assert list(written) == [*survey.model_dump(mode="json"), "adaptive"]


def test_a_loaded_landscape_equals_the_computed_one(tmp_path: Path) -> None:
    found = landscape_in(path_run(tmp_path / "run"))
    assert Landscape.load(STORED / "path.json") == found.model_copy(update={"threshold": None})
    (tmp_path / "landscape.json").write_text(found.to_json(), encoding="utf-8")
    assert Landscape.load(tmp_path / "landscape.json") == found
