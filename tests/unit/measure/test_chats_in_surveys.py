"""What a model reads is part of the survey: chats are rendered once, in the template of the model that is asked."""

from __future__ import annotations

import html
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.utils import chat_template_utils

import safescape
from helpers import tiny_models
from safescape import InputError, Run, Survey
from safescape.measure import with_chats
from safescape.probes import load_prompts
from safescape.survey import PromptProbe
from safescape.weights import resolve

SETTINGS: dict[str, Any] = {"limit": 3, "max_new_tokens": 8, "steps": 2, "whole_answers": True, "judges": "keyword"}
OTHER = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant] "
DATED = "<|system|>Today is {{ strftime_now('%d %b %Y') }}<|end|>" + tiny_models.CHAT_TEMPLATE


def scan(model: object, out: Path, **changes: Any) -> Run:
    return safescape.scan(str(model), out=out, **{"directions": 1, **SETTINGS, **changes})


def path(base: object, tuned: object, out: Path, **changes: Any) -> Run:
    return safescape.path(str(base), str(tuned), out=out, **{"beyond": 0, **SETTINGS, **changes})


def with_template(model: Path, directory: Path, template: str | None, **tokenizer: Any) -> Path:
    shutil.copytree(model, directory)
    (directory / "chat_template.jinja").unlink()
    tiny_models.tokenizer(template, **tokenizer).save_pretrained(directory)
    return directory


@pytest.fixture
def tuned(tiny_model: Path, tmp_path: Path) -> Path:
    """A finetune of the tiny model, with another chat template."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    model.save_pretrained(tmp_path / "tuned")
    tiny_models.tokenizer(OTHER).save_pretrained(tmp_path / "tuned")
    return tmp_path / "tuned"


def said(run: Run, *coords: float, probe: str | None = None) -> list[str]:
    return [each.answer.response.text for each in run.answers(coords or 0.0, probe=probe)]


def generated(model: Any, chats: list[str]) -> list[str]:
    """Return the answers of plain `generate`, one chat at a time."""
    words: Any = tiny_models.tokenizer()
    found: list[str] = []
    for chat in chats:
        ids = words(chat, add_special_tokens=False, return_tensors="pt")["input_ids"]
        output = model.eval().generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
        found.append(words.decode(output[0, ids.shape[1] :], skip_special_tokens=True))
    return found


def in_template(template: str, limit: int = 3) -> list[str]:
    words: Any = tiny_models.tokenizer(template)
    turns = [[{"role": "user", "content": prompt}] for prompt in load_prompts("builtin:harmful", limit)]
    return [words.apply_chat_template(each, add_generation_prompt=True, tokenize=False) for each in turns]


def chats(run: Run, name: str = "harmful") -> list[str]:
    (probe,) = [probe for probe in run.survey.probes if probe.name == name]
    assert isinstance(probe, PromptProbe)
    assert probe.chats is not None
    return probe.chats.rendered


def forget_the_last_point(run: Run) -> None:
    """Leave a run as a kill would have left it."""
    with sqlite3.connect(run.directory / "run.sqlite") as store:
        (point,) = store.execute("SELECT max(id) FROM points").fetchone()
        for kind in ("verdicts", "evidence"):
            store.execute(f"DELETE FROM {kind} WHERE response IN (SELECT id FROM responses WHERE point = ?)", (point,))
        store.execute("DELETE FROM responses WHERE point = ?", (point,))
        store.execute("DELETE FROM points WHERE id = ?", (point,))


@pytest.fixture
def days_later(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set the clock that templates read."""
    import datetime

    def set_clock(days: int) -> None:
        class Clock:
            @staticmethod
            def now() -> datetime.datetime:
                return datetime.datetime(2026, 1, 1) + datetime.timedelta(days=days)

        monkeypatch.setattr(chat_template_utils, "datetime", Clock)

    return set_clock


# --- stored ---


def test_the_survey_holds_what_the_model_reads(tiny_model: Path, tmp_path: Path) -> None:
    run = scan(tiny_model, tmp_path / "run", system_prompt="be kind", also="over-refusal:builtin:benign", also_limit=2)
    stored = json.loads((run.directory / "survey.json").read_text())["probes"]
    assert stored[0]["chats"] == {
        "before": "<|system|>be kind<|end|><|user|>",
        "texts": [*load_prompts("builtin:harmful", 3)],
        "after": "<|end|><|assistant|>",
    }
    assert len(stored[1]["chats"]["texts"]) == 2
    assert said(run) == generated(AutoModelForCausalLM.from_pretrained(tiny_model), chats(run))


def test_figures_and_tables_do_not_repeat_the_chats(tiny_model: Path, tmp_path: Path) -> None:
    run = scan(tiny_model, tmp_path / "run")
    run.export(tmp_path / "points.parquet")
    for name in ("landscape.json", "../points.parquet"):
        assert b"<|assistant|>" not in (run.directory / name).read_bytes()


def test_a_run_of_two_days_asks_what_it_began_with(
    tiny_model: Path, tmp_path: Path, days_later: Callable[[int], None]
) -> None:
    model = with_template(tiny_model, tmp_path / "model", DATED)
    days_later(0)
    settings: dict[str, Any] = {"judges": ("keyword", "refusal")}
    today, run = scan(model, tmp_path / "today", **settings), scan(model, tmp_path / "run", **settings)
    assert "01 Jan 2026" in chats(run)[0]
    forget_the_last_point(run)
    days_later(1)
    notes: list[str] = []
    resumed = scan(model, tmp_path / "run", **settings, on_progress=lambda progress: notes.append(progress.note or ""))
    assert [note for note in notes if note] == [
        "the model's files make other chats or settings today; those in survey.json hold, for new ones give another "
        "--out"
    ]
    assert (resumed.directory / "landscape.json").read_bytes() == (today.directory / "landscape.json").read_bytes()
    assert said(resumed, 0.5) == said(today, 0.5)
    assert resumed.survey == today.survey
    tomorrow = scan(model, tmp_path / "tomorrow", **settings)
    assert "02 Jan 2026" in chats(tomorrow)[0]
    assert tomorrow.survey.digest != today.survey.digest


@pytest.mark.parametrize("template", ["ANOTHER " + tiny_models.CHAT_TEMPLATE, "{{ 1 // 0 }}", "drops everything"])
def test_a_run_whose_template_was_edited_goes_on_with_its_chats(
    tiny_model: Path, tmp_path: Path, template: str
) -> None:
    model = with_template(tiny_model, tmp_path / "model", tiny_models.CHAT_TEMPLATE)
    at_once, run = scan(model, tmp_path / "at once"), scan(model, tmp_path / "run")
    forget_the_last_point(run)
    tiny_models.tokenizer(template).save_pretrained(model)
    resumed = scan(model, tmp_path / "run")
    assert said(resumed, 0.5) == said(at_once, 0.5)
    assert (resumed.directory / "survey.json").read_bytes() == (at_once.directory / "survey.json").read_bytes()


def test_a_resumed_run_renders_nothing(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, run = scan(tiny_model, tmp_path / "at once"), scan(tiny_model, tmp_path / "run")
    forget_the_last_point(run)
    monkeypatch.setattr("safescape.measure.chats.format_chats", None)
    resumed = safescape.run_survey(Survey.load(run.directory / "survey.json"), out=run.directory)
    assert said(resumed, 0.5) == said(at_once, 0.5)


def test_the_same_command_finds_its_directory_whatever_the_template_does(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days_later: Callable[[int], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = with_template(tiny_model, tmp_path / "model", DATED)
    days_later(0)
    first = safescape.scan(str(model), directions=1, **SETTINGS)
    days_later(1)
    again = safescape.scan(str(model), directions=1, **SETTINGS)
    assert again.directory == first.directory
    assert again.survey == first.survey


def earlier(run: Run) -> bytes:
    """Turn a run into one of an earlier version, which stored no chats; return its survey.json."""
    where = run.directory / "survey.json"
    where.write_text(run.survey.without_chats().model_dump_json(indent=1) + "\n")
    assert b"chats" not in where.read_bytes()
    return where.read_bytes()


def test_a_run_of_an_earlier_version_is_resumed_and_keeps_its_survey(tiny_model: Path, tmp_path: Path) -> None:
    at_once, run = scan(tiny_model, tmp_path / "at once"), scan(tiny_model, tmp_path / "run")
    before = earlier(run)
    forget_the_last_point(run)
    resumed = scan(tiny_model, tmp_path / "run")
    assert said(resumed, 0.5) == said(at_once, 0.5)
    assert (run.directory / "survey.json").read_bytes() == before
    assert safescape.run_survey(at_once.survey, out=tmp_path / "run").survey == resumed.survey


def test_a_run_of_an_earlier_version_keeps_to_the_bases_template_and_says_so(
    tiny_model: Path, tuned: Path, tmp_path: Path
) -> None:
    run = path(tiny_model, tuned, tmp_path / "run", template_of="base")
    before, last = earlier(run), said(run, 1.0)
    forget_the_last_point(run)
    notes: list[str] = []
    resumed = path(tiny_model, tuned, tmp_path / "run", on_progress=lambda at: notes.append(at.note or ""))
    assert said(resumed, 1.0) == last
    assert (run.directory / "survey.json").read_bytes() == before
    assert "begun by an earlier version" in notes[0]
    with pytest.raises(InputError, match=r"different survey \(template_of: 'tuned' here, None there"):
        path(tiny_model, tuned, tmp_path / "run", template_of="tuned")


def test_a_survey_without_chats_is_measured_as_its_text_says(tiny_model: Path, tmp_path: Path) -> None:
    run = scan(tiny_model, tmp_path / "run")
    old = run.survey.without_chats()
    again = safescape.run_survey(old, out=tmp_path / "again")
    assert again.survey == run.survey
    assert (again.directory / "landscape.json").read_bytes() == (run.directory / "landscape.json").read_bytes()


def test_a_given_survey_with_other_chats_is_another_one(tiny_model: Path, tmp_path: Path) -> None:
    run = scan(tiny_model, tmp_path / "run")
    other = scan(with_template(tiny_model, tmp_path / "model", OTHER), tmp_path / "other").survey
    given = other.model_copy(update={"model": str(tiny_model)})
    with pytest.raises(InputError, match=r"a different survey \(calibration\.before: '\[user\] ' here"):
        safescape.run_survey(given, out=run.directory)


def test_models_with_other_templates_and_settings_are_compared(tiny_model: Path, tmp_path: Path) -> None:
    other = with_template(tiny_model, tmp_path / "other", "{{ messages[0].content }} {{ 'é' if accents }}")
    GenerationConfig(eos_token_id=[0, 3], pad_token_id=0, repetition_penalty=1.1).save_pretrained(other)
    runs = [scan(tiny_model, tmp_path / "a"), scan(other, tmp_path / "b", template_vars=["accents=true"])]
    assert runs[1].survey.generation == {"repetition_penalty": 1.1, "eos_token_id": [0, 3]}
    safescape.compare([run.directory for run in runs])


def test_generation_settings_are_those_of_the_survey(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    GenerationConfig(eos_token_id=0, pad_token_id=0, repetition_penalty=1.4).save_pretrained(model)
    at_once, run = scan(model, tmp_path / "at once"), scan(model, tmp_path / "run")
    assert said(run) == generated(AutoModelForCausalLM.from_pretrained(model), chats(run))
    forget_the_last_point(run)
    GenerationConfig(eos_token_id=0, pad_token_id=0).save_pretrained(model)
    assert said(scan(model, tmp_path / "run"), 0.5) == said(at_once, 0.5)


# --- whose template ---


@pytest.mark.parametrize("saves", ["tokenizer", "jinja", "tokenizer_config", "several"])
def test_an_adapters_own_template_is_used(tiny_model: Path, tmp_path: Path, saves: str) -> None:
    adapter = tiny_models.save_adapter(tiny_model, tmp_path / "adapter")
    if saves == "tokenizer":
        tiny_models.tokenizer(OTHER).save_pretrained(adapter)
    elif saves == "jinja":
        (adapter / "chat_template.jinja").write_text(OTHER)
    else:
        templates = [{"name": "default", "template": OTHER}, {"name": "tools", "template": "no"}]
        template = OTHER if saves == "tokenizer_config" else templates
        (adapter / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    notes: list[str] = []
    run = scan(f"{tiny_model}+{adapter}", tmp_path / "run", on_progress=lambda at: notes.append(at.note or ""))
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), str(adapter))
    assert chats(run) == in_template(OTHER)
    assert said(run) == generated(model, in_template(OTHER))
    assert "the adapter's own chat template" in notes[0]
    page = html.unescape((run.directory / "report.html").read_text(encoding="utf-8"))
    assert "the adapter's own, which differs from its base's" in page


def test_an_adapter_gives_a_base_without_a_template_its_own(tiny_model: Path, tmp_path: Path) -> None:
    base = with_template(tiny_model, tmp_path / "base", None)
    adapter = tiny_models.save_adapter(base, tmp_path / "adapter")
    with pytest.raises(InputError, match="its tokenizer has no chat template"):
        scan(f"{base}+{adapter}", tmp_path / "run")
    (adapter / "chat_template.jinja").write_text(OTHER)
    assert chats(scan(f"{base}+{adapter}", tmp_path / "run")) == in_template(OTHER)


@pytest.mark.parametrize("saves_its_tokenizer", [True, False])
def test_an_adapter_with_its_bases_template_changes_nothing(
    tiny_model: Path, tmp_path: Path, saves_its_tokenizer: bool
) -> None:
    adapter = tiny_models.save_adapter(tiny_model, tmp_path / "adapter")
    if saves_its_tokenizer:
        tiny_models.tokenizer().save_pretrained(adapter)
    survey = scan(f"{tiny_model}+{adapter}", tmp_path / "run").survey
    assert survey.template_of is None
    assert "template_of" not in survey.model_dump_json()


@pytest.mark.parametrize(("template_of", "template"), [(None, OTHER), ("tuned", OTHER), ("base", None)])
def test_a_path_asks_in_one_of_two_templates(
    tiny_model: Path, tuned: Path, tmp_path: Path, template_of: Any, template: str | None
) -> None:
    notes: list[str] = []
    run = path(
        tiny_model, tuned, tmp_path / "run", template_of=template_of, on_progress=lambda at: notes.append(at.note or "")
    )
    asked = in_template(template or tiny_models.CHAT_TEMPLATE)
    assert chats(run) == asked
    assert said(run) == generated(AutoModelForCausalLM.from_pretrained(tiny_model), asked)
    assert said(run, 1.0) == generated(AutoModelForCausalLM.from_pretrained(tuned), asked)
    assert (f"of {tuned}, which differ from those of {tiny_model}" in notes[0]) is (template is OTHER)


def test_a_path_in_each_template_gives_two_landscapes(tiny_model: Path, tuned: Path, tmp_path: Path) -> None:
    run = path(tiny_model, tuned, tmp_path / "run", template_of="each", also="over-refusal:builtin:benign")
    names = ["harmful, tuned's template", "harmful, base's template", "over-refusal:builtin:benign"]
    assert [probe.name for probe in run.survey.probes] == names
    for name, template in zip(names, (OTHER, tiny_models.CHAT_TEMPLATE), strict=False):
        for coordinate, model in ((0.0, tiny_model), (1.0, tuned)):
            live = AutoModelForCausalLM.from_pretrained(model)
            assert said(run, coordinate, probe=name) == generated(live, in_template(template))
    assert chats(run, names[2])[0].startswith("[user] ")
    assert set(run.landscape.by_probe) == {names[1]}


def test_a_path_between_models_that_read_alike_asks_as_before(tiny_model: Path, tuned: Path, tmp_path: Path) -> None:
    # another text of the template, the same chats
    tiny_models.tokenizer("{# mine #}" + tiny_models.CHAT_TEMPLATE).save_pretrained(tuned)
    run = path(tiny_model, tuned, tmp_path / "run", template_of="each")
    assert run.survey.template_of is None
    assert len(run.survey.probes) == 1


def test_a_finetune_that_saved_no_tokenizer_is_asked_as_its_base(tiny_model: Path, tuned: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tuned / name).unlink()
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    (base / "additional_chat_templates").mkdir()
    (base / "additional_chat_templates" / "other.jinja").write_text(OTHER)
    assert path(base, tuned, tmp_path / "run").survey.template_of is None
    named = path(base, tuned, tmp_path / "named", chat_template_name="other")
    assert named.survey.template_of is None
    assert chats(named) == in_template(OTHER)


def test_a_base_without_a_template_is_asked_in_its_finetunes(tiny_model: Path, tuned: Path, tmp_path: Path) -> None:
    base = with_template(tiny_model, tmp_path / "base", None)
    run = path(base, tuned, tmp_path / "run")
    assert chats(run) == in_template(OTHER)
    with pytest.raises(InputError, match="base: its tokenizer has no chat template; give one with --chat-template"):
        path(base, tuned, tmp_path / "other", template_of="base")


def test_generation_settings_go_with_the_template(tiny_model: Path, tuned: Path, tmp_path: Path) -> None:
    tiny_models.tokenizer().save_pretrained(tuned)
    GenerationConfig(eos_token_id=[0, 3], pad_token_id=0).save_pretrained(tuned)
    run = path(tiny_model, tuned, tmp_path / "run")
    assert (run.survey.template_of, run.survey.generation) == ("tuned", {"eos_token_id": [0, 3]})
    assert path(tiny_model, tuned, tmp_path / "other", template_of="base").survey.generation == {}


def test_a_finetunes_tokenizer_that_cannot_be_used_is_no_reason_to_ask_in_another_silently(
    tiny_model: Path, tuned: Path, tmp_path: Path
) -> None:
    (tuned / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match=r"tuned: its tokenizer cannot be loaded .* with --template-of base$"):
        path(tiny_model, tuned, tmp_path / "run")
    path(tiny_model, tuned, tmp_path / "run", template_of="base")


def test_a_template_with_tokens_that_the_base_lacks_is_refused(tiny_model: Path, tuned: Path, tmp_path: Path) -> None:
    tiny_models.tokenizer("<|new|>" + OTHER, more=["<|new|>"]).save_pretrained(tuned)
    with pytest.raises(InputError, match=r"'<\|new\|>' is token 260 .* between two models, --template-of base$"):
        path(tiny_model, tuned, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_template_of_each_model_needs_one_tokenizer(tiny_model: Path, tuned: Path) -> None:
    survey = path(tiny_model, tuned, tuned / "run", template_of="base").survey.without_chats()
    word = load_prompts("builtin:harmful", 1)[0][:5]
    tiny_models.tokenizer(OTHER, more=[word]).save_pretrained(tuned)
    with pytest.raises(InputError, match=r"--template-of each: the tokenizers .* differently.*; give base or tuned"):
        with_chats(survey, resolve(str(tiny_model)), "each")


# --- bad input ---


@pytest.mark.parametrize(
    ("template", "flags", "message"),
    [
        ("{{ 'a' + 1 }}", [], "the chat template refuses this conversation (can only concatenate"),
        ("Hello", [], "the chat template drops or changes prompt 1"),
        ("{{ messages[-1].content }}", ["--system-prompt", "llama2"], "drops or changes the system prompt"),
        (None, [], "its tokenizer has no chat template"),
        (OTHER, ["--template-var", "enable_thinking=false"], "--template-var enable_thinking: the chat template does"),
        (OTHER, ["--template-var", "=1"], "--template-var =1: expected NAME=VALUE"),
        (OTHER, ["--chat-template-name", "rag"], "--chat-template-name rag: the tokenizer of"),
        (OTHER + "<|new|>", [], "'<|new|>' is token 260 of the tokenizer, and the embedding has 260 rows"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(
    tiny_model: Path,
    tmp_path: Path,
    refused: Callable[[list[object], str], None],
    template: str | None,
    flags: list[str],
    message: str,
) -> None:
    model = with_template(tiny_model, tmp_path / "model", template, more=["<|new|>"])
    refused(["scan", model, "--limit", 2, "--steps", 2, "--directions", 1, *flags], message)
