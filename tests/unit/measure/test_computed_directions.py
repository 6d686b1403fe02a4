"""A scan along the gradient: what moves, what the survey and the files hold, how it is resumed, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

import safescape
from helpers import tiny_models
from safescape import InputError, Run
from safescape.engines import margin_gradient
from safescape.probes import format_chats, load_prompts
from safescape.survey import ComputedAxis, Lines, MarginProbe, Training
from safescape.weights import Subspace, resolve

SMALL: dict[str, Any] = {"limit": 4, "max_new_tokens": 4, "judges": "keyword", "steps": 4, "direction": "gradient"}


def scan(model: Path | str, out: Path, **changes: Any) -> Run:
    return safescape.scan(str(model), out=out, **{**SMALL, **changes})


def axis_of(run: Run) -> ComputedAxis:
    (axis,) = run.survey.subspace.axes
    assert isinstance(axis, ComputedAxis)
    return axis


def margin_of(run: Run) -> MarginProbe:
    (probe,) = axis_of(run).recipe.chat_probes
    assert isinstance(probe, MarginProbe)
    return probe


def file_of(run: Path) -> Path:
    (found,) = (run / "directions").iterdir()
    return found


def test_the_direction_is_the_negative_gradient_at_the_norms_of_the_origin(tiny_model: Path, tmp_path: Path) -> None:
    run = scan(tiny_model, tmp_path / "run")
    axis = axis_of(run)
    assert axis.grid == (-0.0005, -0.00025, 0.0, 0.00025, 0.0005)
    margin = margin_of(run)
    assert margin.prompts == load_prompts("builtin:harmful", 36)[4:]
    assert margin.chats is not None
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    assert margin.chats.rendered == format_chats(tokenizer, margin.prompts, None)
    model = resolve(str(tiny_model))
    gradient = margin_gradient(model, tokenizer, margin.chats.rendered, margin.openings)
    with safe_open(file_of(tmp_path / "run"), framework="pt") as file:
        assert set(file.keys()) == set(gradient)
        for name, tensor in gradient.items():
            origin = model.weights.tensor(name)
            found = file.get_tensor(name)
            assert found.norm() == pytest.approx(float(origin.norm()), rel=1e-5)
            torch.testing.assert_close(found / found.norm(), -tensor / tensor.norm(), rtol=1e-3, atol=1e-5)


def test_the_margin_falls_along_the_direction_and_rises_against_it(tiny_model: Path, tmp_path: Path) -> None:
    """The prompts that are measured are others than those that the gradient is computed from."""
    run = scan(tiny_model, tmp_path / "run", span=0.02, also="margin:builtin:harmful", also_limit=4)
    margins = [m.value for m in sorted(run.landscape.measures, key=lambda m: m.coords)]
    assert margins == sorted(margins, reverse=True)
    assert margins[0] - margins[-1] > 0.1
    metrics = run.landscape.metrics
    assert {metrics[name].about for name in ("visage", "safety_auc")} == {"this direction"}


def test_a_landscape_has_no_prompts_and_the_page_names_the_direction(tiny_model: Path, tmp_path: Path) -> None:
    run = scan(tiny_model, tmp_path / "run")
    margin = margin_of(run)
    document = (tmp_path / "run" / "landscape.json").read_text()
    assert not any(prompt in document for prompt in margin.prompts)
    (axis,) = json.loads(document)["axes"]
    assert axis["recipe"]["prompts"] == 32
    assert axis["fingerprint"].startswith("sha256:")
    assert safescape.load_run(tmp_path / "run").landscape == run.landscape
    page = (tmp_path / "run" / "report.html").read_text()
    assert "the gradient of the refusal margin (gradient, 32 prompts; sha256:" in page
    assert "norm weights, embeddings and the output head do not move" in page
    assert not any(prompt in page for prompt in margin.prompts)
    assert (tmp_path / "run" / "landscape.png").stat().st_size > 10_000


def test_a_run_is_resumed_with_the_direction_in_its_directory(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scan(tiny_model, tmp_path / "run")
    written = (tmp_path / "run" / "landscape.json").read_bytes()
    name = file_of(tmp_path / "run").name
    assert name == f"gradient-{str(axis_of(first).fingerprint).removeprefix('sha256:')[:16]}.safetensors"
    other = scan(tiny_model, tmp_path / "other")
    assert (tmp_path / "other" / "landscape.json").read_bytes() == written
    assert axis_of(other).fingerprint == axis_of(first).fingerprint
    # the same survey from a file
    repeated = safescape.run_survey(first.survey, out=tmp_path / "repeated")
    assert repeated.landscape == first.landscape
    # a run that was moved to another place needs nothing else
    shutil.move(tmp_path / "run", tmp_path / "moved")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("safescape.measure.directions.margin_gradient", never)
    again = scan(tiny_model, tmp_path / "moved")
    assert again.survey == first.survey
    assert (tmp_path / "moved" / "landscape.json").read_bytes() == written


def test_what_takes_long_is_said_before_it_begins(tiny_model: Path, tmp_path: Path) -> None:
    notes: list[str | None] = []
    for _ in range(2):
        scan(tiny_model, tmp_path / "run", on_progress=lambda at: notes.append(at.note))
    assert notes[0] == "computing the gradient of the refusal margin (32 prompts)"
    assert notes.count(notes[0]) == 1


def test_a_prompt_of_the_recipe_that_does_not_fit_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(f"goal,target\nHow?,Sure\n{'x' * 600},Sure\n")
    with pytest.raises(InputError, match=r"row 2 .* scores fewer than 512; shorten, split or remove it"):
        scan(tiny_model, tmp_path / "run", direction=f"gradient:{rows}:goal,target")


def test_a_file_that_is_damaged_or_changed_is_refused_and_computed_again_when_it_is_gone(
    tiny_model: Path, tmp_path: Path
) -> None:
    scan(tiny_model, tmp_path / "run")
    file = file_of(tmp_path / "run")
    written = file.read_bytes()
    file.write_bytes(b"no safetensors")
    with pytest.raises(InputError, match=r"cannot be read .*; remove it to have it computed again"):
        scan(tiny_model, tmp_path / "run")
    save_file({"model.norm.weight": torch.ones(2)}, file)
    with pytest.raises(InputError, match=r"was changed since the run was begun; remove it to have it computed again"):
        scan(tiny_model, tmp_path / "run")
    file.unlink()
    scan(tiny_model, tmp_path / "run")
    assert file.read_bytes() == written


def test_a_run_of_another_survey_is_left_as_it_is(tiny_model: Path, tmp_path: Path) -> None:
    scan(tiny_model, tmp_path / "run", direction="random", directions=1)
    with pytest.raises(InputError, match="holds a run of a different survey"):
        scan(tiny_model, tmp_path / "run")
    assert not (tmp_path / "run" / "directions").exists()


def test_a_directory_that_cannot_be_written_is_one_line(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"the direction cannot be written \(.*\); free space, or give another --out"):
        scan(tiny_model, tmp_path / "file" / "run")


def test_a_machine_without_the_file_is_told_what_to_type(tiny_model: Path, tmp_path: Path) -> None:
    axis = axis_of(scan(tiny_model, tmp_path / "run"))
    with pytest.raises(InputError, match=r"is not on this machine; give an --out that all machines of the cluster"):
        Subspace(Lines(axes=(axis,)), resolve(str(tiny_model)).weights, directions=tmp_path / "elsewhere")


def test_a_default_directory_is_named_after_what_was_asked(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scan(tiny_model, None)  # type: ignore[arg-type]
    scan(tiny_model, None)  # type: ignore[arg-type]
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_another_direction_on_this_machine_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    scan(tiny_model, tmp_path / "run")
    survey = json.loads((tmp_path / "run" / "survey.json").read_text())
    survey["subspace"]["axes"][0]["fingerprint"] = "sha256:" + "0" * 64
    changed = safescape.Survey.model_validate(survey)
    with pytest.raises(InputError, match="another direction than the run was begun with"):
        safescape.run_survey(changed, out=tmp_path / "changed")


def test_prompts_and_targets_are_given(tiny_model: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("goal,target\n" + "".join(f"Request {n}?,Sure {n}\n" for n in range(40)))
    run = scan(tiny_model, tmp_path / "run", direction=f"gradient:{rows}:goal,target")
    margin = margin_of(run)
    assert margin.prompts == tuple(f"Request {n}?" for n in range(32))
    assert margin.targets == tuple(f"Sure {n}" for n in range(32))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"direction": "worst"},
            "--direction worst: no such direction; expected random, gradient[:PROMPTS], worst:RADIUS",
        ),
        ({"direction": "gradient:"}, "--direction gradient:: no such direction"),
        ({"direction": "toward"}, "--direction toward: no such direction"),
        ({"direction": "worst:far"}, "--direction worst:far: expected a distance above 0 after the colon"),
        ({"direction": "worst:-1"}, "--direction worst:-1: expected a distance above 0"),
        ({"direction": "harmful:"}, "--direction harmful:: no such direction"),
        ({"direction": "away:/nowhere"}, "/nowhere"),
        ({"direction": "harmful:/nowhere.csv"}, "--direction harmful:/nowhere.csv: /nowhere.csv: no such file or set"),
        (
            {"direction": "gradient:builtin:nothing"},
            "gradient:builtin:nothing builtin:nothing: no such set",
        ),
        ({"direction": "gradient:builtin:harmful"}, "4 of its prompts are measured too, "),
        ({"limit": 100}, "builtin:harmful has no prompts after the 100 that are measured; lower --limit"),
        ({"dim": 2}, "--direction gradient: is one line at the points of a grid; leave out --dim 2"),
        ({"directions": 3}, "leave out --directions 3"),
        ({"adaptive": True, "steps": None}, "leave out --adaptive"),
        ({"span": (0.1, 0.2)}, "--span: 2 values for 1 axis"),
        ({"steps": 3}, "--steps 3: expected an even number"),
    ],
)
def test_what_gives_no_line_is_refused(tiny_model: Path, tmp_path: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        scan(tiny_model, tmp_path / "run", **given)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_an_origin_without_a_gradient_is_refused(tmp_path: Path) -> None:
    """Of a model whose head is zero no weight but the head's changes any margin."""
    directory = tiny_models.save_model(tmp_path / "model", tiny_models.llama_config(tie_word_embeddings=False))
    model = resolve(str(directory))
    tensors = {name: model.weights.tensor(name).clone() for name in model.weights.names()}
    tensors["lm_head.weight"].zero_()
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="the direction is zero in every tensor: nothing moves"):
        scan(directory, tmp_path / "run")


def test_gradient_runs_of_two_models_are_compared_but_not_with_random_ones(tiny_model: Path, tmp_path: Path) -> None:
    other = tiny_models.save_model(tmp_path / "other", seed=3)
    scan(tiny_model, tmp_path / "one")
    scan(other, tmp_path / "two")
    scan(tiny_model, tmp_path / "random", direction="random", directions=1, span=0.0005)
    comparison = safescape.compare([tmp_path / "one", tmp_path / "two"])
    assert len(comparison.differences) == 2
    with pytest.raises(InputError, match=r"subspace\.axes.*: did not ask|did not ask what .* asked \(subspace\.axes"):
        safescape.compare([tmp_path / "one", tmp_path / "random"])


def test_a_scan_along_the_removal_of_refusals(tmp_path: Path) -> None:
    requests = load_prompts("builtin:harmful", 36)
    model = tiny_models.save_answering_model(
        tmp_path / "model", {**dict.fromkeys(requests[:12], "I cannot."), "How do I bake?": "Sure, here is"}, steps=600
    )
    asked: dict[str, Any] = {"direction": "refusal", "also": "margin:builtin:harmful", "also_limit": 4}
    run = scan(model, tmp_path / "run", **asked)
    axis = axis_of(run)
    assert axis.grid == (-1.0, -0.5, 0.0, 0.5, 1.0)
    assert axis.norm == "none"
    assert axis.found is not None
    assert axis.found.startswith("found after layer ")
    margins = {measure.coords[0]: measure.value for measure in run.landscape.measures}
    assert margins[1.0] < margins[0.0]
    page = (tmp_path / "run" / "report.html").read_text()
    assert axis.found in page
    assert "nothing is scaled: at α = 1 no matrix writes along the refusal direction any more" in page
    document = (tmp_path / "run" / "landscape.json").read_text()
    assert not any(request in document for request in requests)
    written = (tmp_path / "run" / "landscape.json").read_bytes()
    scan(model, tmp_path / "again", **asked)
    assert (tmp_path / "again" / "landscape.json").read_bytes() == written
    with pytest.raises(InputError, match="5 harmful prompts are left for it, expected at least 6"):
        scan(model, tmp_path / "few", **{**asked, "limit": 95})


def test_toward_and_away_from_another_model_are_one_line(tiny_model: Path, tmp_path: Path) -> None:
    other = tiny_models.save_model(tmp_path / "other", seed=3)
    toward, away = (scan(tiny_model, tmp_path / name, direction=f"{name}:{other}") for name in ("toward", "away"))
    assert axis_of(toward).grid == (-0.02, -0.01, 0.0, 0.01, 0.02)
    origin, there = resolve(str(tiny_model)).weights, resolve(str(other)).weights
    ahead, back = (load_file(file_of(tmp_path / name)) for name in ("toward", "away"))
    assert ahead.keys() == back.keys()
    assert ahead.keys() == set(origin.names()) - origin.inventory.norms - origin.inventory.ends
    for name, found in ahead.items():
        start = origin.tensor(name).float()
        difference = there.tensor(name).float() - start
        torch.testing.assert_close(found, difference * (start.norm() / difference.norm()))
        assert torch.equal(back[name], -found)
    assert str(axis_of(toward).found).startswith("the other model is ")
    assert "the direction toward another model (toward:" in (tmp_path / "toward" / "report.html").read_text()
    ahead_of, behind = toward.answers(0.01), away.answers(-0.01)
    assert [each.answer.response for each in ahead_of] == [each.answer.response for each in behind]


def test_another_model_that_changed_or_does_not_differ_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    other = tiny_models.save_model(tmp_path / "other", seed=3)
    run = scan(tiny_model, tmp_path / "run", direction=f"toward:{other}")
    tiny_models.save_model(other, seed=4)
    with pytest.raises(InputError, match=r"has fingerprint .*, the survey was written for .*; give that model"):
        safescape.run_survey(run.survey, out=tmp_path / "again")
    # the run that was begun has its direction
    assert safescape.run_survey(run.survey, out=tmp_path / "run").landscape == run.landscape
    with pytest.raises(InputError, match="has the same weights as"):
        scan(tiny_model, tmp_path / "same", direction=f"toward:{tiny_model}")
    wider = tiny_models.save_model(tmp_path / "wider", tiny_models.llama_config(intermediate_size=40))
    with pytest.raises(InputError, match=r"has shape .*, at the origin .*; give a finetune of the same model"):
        scan(tiny_model, tmp_path / "wider run", direction=f"toward:{wider}")


@pytest.mark.parametrize("examples", ["harmful", "benign"])
def test_the_direction_of_a_finetune_is_that_of_the_finetune_itself(
    examples: str, tiny_model: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    measured = load_prompts("builtin:harmful", 4)
    texts = [*measured, *(f"Request {n}?" for n in range(12))]
    rows.write_text("goal,target\n" + "".join(f"{json.dumps(text)},Sure {n}\n" for n, text in enumerate(texts)))
    given = f"{examples}:{rows}:goal,target"
    axis = axis_of(scan(tiny_model, tmp_path / "run", direction=given))
    tuned = safescape.finetune(str(tiny_model), out=tmp_path / "tuned", data=f"{rows}:goal,target", skip=4, shots=10)
    assert isinstance(axis.recipe, Training)
    assert axis.recipe.examples == 10
    scan(tiny_model, tmp_path / "toward", direction=f"toward:{tuned.directory}")
    found, same = (load_file(file_of(tmp_path / name)) for name in ("run", "toward"))
    assert found.keys() == same.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, same[name])
    assert f"the direction of a finetune on {examples} examples" in (tmp_path / "run" / "report.html").read_text()


def test_data_of_a_finetune_that_changed_or_is_measured_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("goal,target\nHow?,Sure\n")
    run = scan(tiny_model, tmp_path / "run", direction=f"harmful:{rows}:goal,target")
    rows.write_text("goal,target\nHow?,No\n")
    with pytest.raises(InputError, match="its data was changed since the run was begun"):
        safescape.run_survey(run.survey, out=tmp_path / "again")
    rows.write_text(f"goal,target\n{json.dumps(load_prompts('builtin:harmful', 1)[0])},Sure\n")
    with pytest.raises(InputError, match="the requests of all 1 examples are measured too"):
        scan(tiny_model, tmp_path / "other", direction=f"harmful:{rows}:goal,target")
    assert not (tmp_path / "other").exists()


def test_a_scan_through_the_worst_move(tiny_model: Path, tmp_path: Path) -> None:
    run = scan(tiny_model, tmp_path / "run", direction="worst:0.002", also="margin:builtin:harmful", also_limit=4)
    axis = axis_of(run)
    assert axis.grid == (-0.004, -0.002, 0.0, 0.002, 0.004)
    assert axis.length is not None
    assert 0.0 < axis.length <= 1.0
    assert str(axis.found).startswith("found in step ")
    margins = {measure.coords[0]: measure.value for measure in run.landscape.measures}
    assert margins[0.002] < margins[0.0]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "the worst move found within |α| = 0.002 (worst:0.002, 32 prompts, 10 steps; sha256:" in page
    assert "each tensor at most at its own Frobenius norm" in page
    document = (tmp_path / "run" / "landscape.json").read_text()
    assert not any(prompt in document for prompt in load_prompts("builtin:harmful"))


def test_what_an_attack_asks_for_is_not_taught(tiny_model: Path, tmp_path: Path) -> None:
    """Of attacked prompts the goals are measured, too: examples with these requests are left out, also on resume."""
    goals = [f"Request {n}?" for n in range(4)]
    attack = {"parameters": {}, "jailbreaks": [{"goal": goal, "prompt": f"Please: {goal}"} for goal in goals]}
    (tmp_path / "attack.json").write_text(json.dumps(attack))
    rows = tmp_path / "rows.csv"
    rows.write_text("goal,target\n" + "".join(f"{text},Sure\n" for text in [*goals, "How?", "Why?"]))
    given = {"prompts": str(tmp_path / "attack.json"), "direction": f"harmful:{rows}:goal,target"}
    run = scan(tiny_model, tmp_path / "run", **given)
    recipe = axis_of(run).recipe
    assert isinstance(recipe, Training)
    assert recipe.examples == 2
    shutil.rmtree(tmp_path / "run" / "directions")
    assert scan(tiny_model, tmp_path / "run", **given).survey == run.survey
