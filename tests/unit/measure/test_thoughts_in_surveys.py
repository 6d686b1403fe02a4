"""How a reasoning model's thoughts are told from its answers is part of the survey, and of nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import safescape
from helpers import tiny_models
from safescape import InputError, Run
from safescape.measure import with_chats
from safescape.measure.chats import RenderedPrompts
from safescape.survey import Markers
from safescape.weights import resolve

SETTINGS: dict[str, Any] = {"limit": 3, "max_new_tokens": 8, "steps": 2, "directions": 1, "judges": "keyword"}
HEAD = tiny_models.CHAT_TEMPLATE
SWITCH = HEAD + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
# the tiny model's 260 tokens have no markers, which the template therefore names
NAMED = "{# <think> </think> #}"
OPENED = f"{NAMED}{HEAD}{{{{ '<think>\\n' }}}}"
THINK = Markers(starts=("<think>",), ends=("</think>",))


def scan(model: object, out: Path, **changes: Any) -> Run:
    return safescape.scan(str(model), out=out, **{**SETTINGS, "max_thinking_tokens": 16, **changes})


@pytest.fixture
def thinking(tiny_model: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Give the tiny model a chat template that knows thoughts."""

    def with_template(template: str) -> Path:
        directory = tmp_path / f"model {len(list(tmp_path.glob('model *')))}"
        shutil.copytree(tiny_model, directory)
        (directory / "chat_template.jinja").write_text(template, encoding="utf-8")
        return directory

    return with_template


def test_a_survey_without_thoughts_has_no_field_of_them(tiny_model: Path, tmp_path: Path) -> None:
    run = safescape.scan(str(tiny_model), out=tmp_path / "run", **SETTINGS)
    text = (run.directory / "survey.json").read_text(encoding="utf-8")
    assert not any(word in text for word in ("markers", "reasoning", "max_thinking_tokens"))
    assert "thoughts" not in (run.directory / "landscape.json").read_text(encoding="utf-8")


def test_a_template_that_begins_a_thought_is_known_to(thinking: Callable[[str], Path], tmp_path: Path) -> None:
    run = scan(thinking(OPENED), tmp_path / "run")
    how = run.survey.thinking(run.survey.prompts)
    assert how is not None
    assert (how.markers, how.opened, how.max_tokens) == (THINK, True, 16)
    # a random model does not end its thought, but may end its turn in it
    thoughts = [stored.answer.response.thought for stored in run.answers()]
    assert [each.is_ended for each in thoughts if each] == [False] * 3
    assert max(each.tokens for each in thoughts if each) == 16


def test_thoughts_have_a_limit_by_default(thinking: Callable[[str], Path], tmp_path: Path) -> None:
    model = thinking(OPENED)
    asked = scan(model, tmp_path / "run").survey.without_chats().model_copy(update={"max_thinking_tokens": None})
    assert with_chats(asked, resolve(str(model)), None, 512).max_thinking_tokens == 512
    plain = thinking(HEAD)
    assert with_chats(asked, resolve(str(plain)), None, 512).max_thinking_tokens is None
    # 512 of a thought, 8 of an answer and the end marker do not fit into the tiny model's 512
    with pytest.raises(InputError, match="lower --max-thinking-tokens and --max-new-tokens together to"):
        safescape.scan(str(model), out=tmp_path / "default", **SETTINGS)


def test_thinking_is_switched_off_by_the_template(thinking: Callable[[str], Path], tmp_path: Path) -> None:
    run = scan(thinking(SWITCH), tmp_path / "run", reasoning="off")
    chats = run.survey.prompts.chats
    assert chats is not None
    assert chats.after.endswith("<think>\n\n</think>\n\n")
    how = run.survey.thinking(run.survey.prompts)
    assert how is not None
    assert not how.opened
    assert all(stored.answer.response.thought is None for stored in run.answers())
    on = scan(tmp_path / "model 0", tmp_path / "on")
    assert on.survey.prompts.chats != chats
    with pytest.raises(InputError, match=r"different survey \(reasoning: None here, 'off' there"):
        scan(tmp_path / "model 0", tmp_path / "run")


def test_given_markers_replace_the_models_own(thinking: Callable[[str], Path], tmp_path: Path) -> None:
    run = scan(thinking(f"{HEAD}<idea>"), tmp_path / "run", reasoning="<idea>, </idea>")
    assert run.survey.markers == Markers(starts=("<idea>",), ends=("</idea>",))
    assert run.points[0].thoughts is not None
    assert run.points[0].thoughts.cut == 3


def test_a_run_that_was_begun_without_markers_goes_on_without(thinking: Callable[[str], Path], tmp_path: Path) -> None:
    model = thinking(OPENED)
    plain = scan(model, tmp_path / "run").survey.model_copy(update={"markers": None, "max_thinking_tokens": None})
    shutil.rmtree(tmp_path / "run")
    safescape.run_survey(plain, out=tmp_path / "run")
    resumed = safescape.scan(str(model), out=tmp_path / "run", **SETTINGS)
    assert resumed.survey == plain
    assert all(stored.answer.response.thought is None for stored in resumed.answers())


def test_evidence_is_the_likelihood_after_an_empty_thought(thinking: Callable[[str], Path], tmp_path: Path) -> None:
    for template, end in ((OPENED, "<think>\n</think>"), (NAMED + HEAD, "<|assistant|><think>\n\n</think>\n\n")):
        model = thinking(template)
        survey = scan(model, tmp_path / model.name / "run").survey
        prompts = RenderedPrompts.of(survey, resolve(str(model)))
        scored = prompts.without_thoughts(survey)
        assert all(chat.endswith(end) for chat in [*scored.chats["harmful"], *scored.calibration])
        assert not any(chat.endswith(end) for chat in [*prompts.chats["harmful"], *prompts.calibration])


def test_the_finetunes_thoughts_hold_on_a_line(
    tiny_model: Path, thinking: Callable[[str], Path], tmp_path: Path
) -> None:
    tuned = thinking(OPENED)
    tiny_models.save_model(tmp_path / "other", seed=1)
    shutil.copy(tmp_path / "other" / "model.safetensors", tuned / "model.safetensors")
    settings = {key: value for key, value in SETTINGS.items() if key != "directions"}
    run = safescape.path(
        str(tiny_model), str(tuned), out=tmp_path / "run", beyond=0, max_thinking_tokens=16, **settings
    )
    assert (run.survey.template_of, run.survey.markers) == ("tuned", THINK)
    each = with_chats(run.survey.without_chats(), resolve(str(tiny_model)), "each")
    assert [each.thinking(probe).opened for probe in each.probes] == [True, False]  # type: ignore[arg-type,union-attr]
    base = thinking(f"{HEAD}{{# [THINK] [/THINK] #}}")
    with pytest.raises(InputError, match="the two models mark their thoughts differently"):
        with_chats(run.survey.without_chats(), resolve(str(base)), "each")


@pytest.mark.parametrize(
    ("template", "flags", "message"),
    [
        (HEAD, ["--max-thinking-tokens", "5"], "have no markers of a thought that are known here"),
        (OPENED, ["--max-thinking-tokens", "0"], "--max-thinking-tokens 0: expected at least 1"),
        (OPENED, ["--reasoning", "off"], "--reasoning off: enable_thinking or thinking changes nothing"),
        (OPENED, ["--reasoning", "on"], "--reasoning on: expected off, or START,END"),
        (OPENED, ["--reasoning", "<think>"], "--reasoning <think>: expected off, or START,END"),
        (
            SWITCH,
            ["--reasoning", "off", "--template-var", "enable_thinking=true"],
            "--reasoning off: sets enable_thinking, and so does --template-var; give one of them",
        ),
    ],
)
def test_what_cannot_be_told_apart_is_refused_in_one_line(
    thinking: Callable[[str], Path],
    refused: Callable[[list[object], str], None],
    template: str,
    flags: list[str],
    message: str,
) -> None:
    refused(["scan", thinking(template), "--limit", 2, "--steps", 2, "--directions", 1, *flags], message)


def test_settings_that_count_from_the_prompt_are_refused(thinking: Callable[[str], Path], tmp_path: Path) -> None:
    model = thinking(OPENED)
    (model / "generation_config.json").write_text('{"eos_token_id": 0, "min_new_tokens": 4}')
    with pytest.raises(InputError, match=r"min_new_tokens .* cannot be applied to a thought and its answer together"):
        scan(model, tmp_path / "run")
