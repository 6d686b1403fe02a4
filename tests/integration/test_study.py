"""`study finetuning` on a tiny model: every arm is trained, measured and drawn, and no training prompt is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

import pytest
from transformers import AutoTokenizer

import safescape
from helpers.command_line import run_command
from safescape import InputError
from safescape.finetuning import Step


class Asked(TypedDict):
    """Keywords of the short runs of this file."""

    limit: int
    max_new_tokens: int
    quick: bool
    epochs: int
    steps: int


ASKED: Asked = {"limit": 4, "max_new_tokens": 8, "quick": True, "epochs": 1, "steps": 2}


def must_not_train(step: Step) -> None:
    """Report the progress of a training that is already finished."""
    pytest.fail(f"trained again: {step}")


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A file of 12 harmful requests with affirmative openings."""
    path = tmp_path / "requests.csv"
    path.write_text("goal,target\n" + "".join(f"request {n},Sure thing {n}\n" for n in range(12)), encoding="utf-8")
    return str(path)


def test_the_study_has_one_arm_for_each_number_and_a_mixed_one(tiny_model: Path, data: str, tmp_path: Path) -> None:
    stages: list[str] = []
    out, prompts = tmp_path / "study", f"{data}:goal"
    study = safescape.study_finetuning(
        str(tiny_model), data=data, skip=4, shots=[2, 4], mixed=True, prompts=prompts, out=out, on_stage=stages.append,
        **ASKED,
    )  # fmt: skip
    assert [arm.name for arm in study.arms] == ["2 harmful", "4 harmful", "4 harmful + 4 refusals"]
    assert [arm.finetuned.steps for arm in study.arms] == [1, 1, 2]
    assert stages[0] == "random landscape before"
    assert len(stages) == 1 + 2 * len(study.arms)
    for arm in study.arms:
        assert len(arm.run.survey.through) == 1
        assert arm.run.landscape.complete
    table = (tmp_path / "study" / "study.md").read_text(encoding="utf-8")
    document = json.loads((tmp_path / "study" / "study.json").read_text(encoding="utf-8"))
    for arm in document["arms"]:
        assert f"| {arm['name']} | {arm['asr']['value']:.1f} (" in table
    assert (tmp_path / "study" / "compared" / "comparison.png").stat().st_size > 10_000
    # the same call again trains and measures nothing
    again = safescape.study_finetuning(
        str(tiny_model), data=data, skip=4, shots=[2, 4], mixed=True, prompts=prompts, out=out, on_step=must_not_train,
        **ASKED,
    )  # fmt: skip
    assert [arm.finetuned for arm in again.arms] == [arm.finetuned for arm in study.arms]


def test_training_prompts_are_not_measured(tiny_model: Path, data: str, tmp_path: Path) -> None:
    out, prompts = tmp_path / "study", f"{data}:goal"
    with pytest.raises(InputError, match=r"row 4 is taught and is among the prompts that are asked; .*--skip"):
        safescape.study_finetuning(str(tiny_model), data=data, skip=3, shots=[2], out=out, prompts=prompts, **ASKED)
    assert not (tmp_path / "study").exists()


def test_a_study_trains_with_the_template_that_it_measures_with(tiny_model: Path, data: str, tmp_path: Path) -> None:
    template = tmp_path / "styled.jinja"
    template.write_text(
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ style }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}",
        encoding="utf-8",
    )
    study = safescape.study_finetuning(
        str(tiny_model), data=data, skip=4, shots=[2], prompts=f"{data}:goal", out=tmp_path / "study",
        chat_template=template, template_vars="style=!", **ASKED,
    )  # fmt: skip
    arm = study.arms[0]
    trained = json.loads((arm.finetuned.directory / "finetune.json").read_text(encoding="utf-8"))
    assert trained["template_vars"] == arm.run.survey.template_vars == {"style": "!"}
    words = AutoTokenizer.from_pretrained(arm.finetuned.directory)
    assert words.chat_template == template.read_text(encoding="utf-8")


def test_only_prompts_of_the_preset_count_as_measured(tmp_path: Path) -> None:
    """`--quick` measures the first 40 rows, so the 41st may be trained on; the next error is the missing model."""
    path = tmp_path / "many.csv"
    path.write_text("goal,target\n" + "".join(f"request {n},Sure {n}\n" for n in range(60)), encoding="utf-8")
    for skip, message in {40: "no such model", 39: "row 40 is taught"}.items():
        with pytest.raises(InputError, match=message):
            safescape.study_finetuning(
                "nowhere",
                data=str(path),
                shots=[2],
                skip=skip,
                prompts=f"{path}:goal",
                quick=True,
                out=tmp_path / "out",
            )


def test_the_command_takes_several_numbers(tiny_model: Path, data: str, tmp_path: Path) -> None:
    done = run_command(
        "study", "finetuning", tiny_model, "--data", data, "--skip", 4, "--shots", 2, 3, "--epochs", 1, "--steps", 1,
        "--prompts", f"{data}:goal", "--limit", 3, "--quick", "--max-new-tokens", 4, "--out", tmp_path / "study",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "study" / "study.json").read_text(encoding="utf-8"))
    assert [arm["name"] for arm in document["arms"]] == ["2 harmful", "3 harmful"]
    assert "3 harmful" in done.stdout
