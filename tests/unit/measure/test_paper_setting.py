"""`--paper` names the option that asks with the system prompt a model was published with, and changes no chat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import safescape
from helpers import tiny_models
from helpers.command_line import run_command
from safescape.probes import SYSTEM_PROMPTS, format_chats, omitted_system_prompt

VICUNA = (Path(__file__).parents[3] / "examples" / "chat_templates" / "vicuna.jinja").read_text(encoding="utf-8")
LLAMA2 = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{% set system = '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' %}{% set messages = messages[1:] %}"
    "{% else %}{% set system = '' %}{% endif %}"
    "{{ '[INST] ' + system + messages[0].content + ' [/INST]' }}"
)
LLAMA2_WITH_DEFAULT = LLAMA2.replace("{% set system = '' %}", "{% set system = '<<SYS>>\\nBe good.\\n<</SYS>>\\n' %}")
MISTRAL = "{{ bos_token }}{{ '[INST] ' + messages[-1].content + ' [/INST]' }}"
LLAMA3 = "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"
SETTINGS: dict[str, Any] = {"limit": 2, "max_new_tokens": 2, "directions": 1, "steps": 2}


def said_of(template: str, system: str | None = None) -> str | None:
    words = tiny_models.tokenizer(template, bos_token="<|user|>")
    (chat,) = format_chats(words, ["A request."], system)
    found = omitted_system_prompt(template, chat.partition("A request.")[0])
    return None if found is None else found.system_prompt


@pytest.mark.parametrize(
    ("template", "expected"),
    [(LLAMA2, "llama2"), (VICUNA, "vicuna"), (LLAMA2_WITH_DEFAULT, None), (MISTRAL, None), (LLAMA3, None)],
    ids=["llama2", "vicuna", "llama2 with a default", "mistral", "llama3"],
)
def test_a_missing_system_prompt_is_known_by_the_template(template: str, expected: str | None) -> None:
    assert said_of(template) == expected
    if expected is not None:
        assert said_of(template, SYSTEM_PROMPTS[expected]) is None


def test_the_template_of_vicuna_writes_what_vicuna_was_trained_on() -> None:
    words = tiny_models.tokenizer(VICUNA, bos_token="<|user|>")
    (chat,) = format_chats(words, ["A request."], SYSTEM_PROMPTS["vicuna"])
    assert chat == (
        "<|user|>A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions. USER: A request. ASSISTANT:"
    )


@pytest.fixture
def llama2(tmp_path: Path) -> Path:
    model = tiny_models.save_model(tmp_path / "model", tiny_models.llama_config(max_position_embeddings=1024))
    tiny_models.tokenizer(LLAMA2, bos_token="<|user|>").save_pretrained(model)
    return model


def test_the_line_is_printed_with_paper_alone_and_the_chats_stay(llama2: Path, tmp_path: Path) -> None:
    notes: list[str | None] = []

    def run(name: str, **given: Any) -> safescape.Run:
        notes.clear()
        report: Any = lambda progress: notes.append(progress.note)  # noqa: E731
        return safescape.scan(str(llama2), out=tmp_path / name, on_progress=report, **{**SETTINGS, **given})

    line = (
        "the chat template adds no system prompt, and the paper asks Llama 2 chat with its default one: "
        "--system-prompt llama2"
    )
    paper = run("paper", paper=True)
    assert notes[0] == line
    plain = run("plain")
    assert notes[0] is None
    assert plain.survey.prompts.chats == paper.survey.prompts.chats
    asked = run("asked", paper=True, system_prompt="llama2")
    assert notes[0] is None
    assert asked.survey.prompts.chats is not None
    assert SYSTEM_PROMPTS["llama2"] in asked.survey.prompts.chats.before
    run("empty", paper=True, system_prompt="empty")
    assert notes[0] is None, "an empty one was asked for"


def test_the_command_prints_it_on_stderr(llama2: Path, tmp_path: Path) -> None:
    flags = ["--paper", "--limit=2", "--max-new-tokens=2", "--directions=1", "--steps=2", f"--out={tmp_path / 'run'}"]
    done = run_command("scan", str(llama2), *flags)
    assert done.returncode == 0, done.stderr
    assert "asks Llama 2 chat with its default one: --system-prompt llama2" in done.stderr
