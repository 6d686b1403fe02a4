"""The real vLLM engine on this machine's CPU: it answers as the transformers engine does, at every point.

vLLM binds threads and changes torch for its whole process, so it runs in processes of its own.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import GPT2Config, MistralConfig, PretrainedConfig, Qwen2Config, Qwen3Config

import safescape
from helpers.command_line import command_line, run_command
from helpers.engine_outputs import EngineOutputs
from helpers.tiny_models import llama_config, save_model
from safescape.engines import Engine, TokenCounts, TransformersEngine, VllmEngine
from safescape.errors import InputError
from safescape.judges import immediate_judge
from safescape.probes import format_chats, load_prompts, load_tokenizer
from safescape.store import Store
from safescape.survey import Finish, Lines, Point, RandomAxis
from safescape.weights import Subspace, resolve

LINE = Lines(axes=(RandomAxis(seed=3, span=0.5, steps=20),))
ORIGIN = Point(None, (0.0,))
JOURNEY = (ORIGIN, Point(0, (0.2,)), Point(0, (-0.1,)), ORIGIN)
COUNTS = TokenCounts(256, 256, 8 * 256)


def journey(engine: Engine, chats: Sequence[str], stop: Sequence[str], tokens: int) -> EngineOutputs:
    positions, responses, likelihoods = [], [], []
    engine.canary(JOURNEY[1])
    for point in JOURNEY:
        positions.append(engine.move_to(point))
        responses.append(engine.respond(chats, max_new_tokens=tokens, stop=stop))
        asked = [(chat, " I cannot help with that.") for chat in chats[:4]] + [("", "The cat sat on the mat.")]
        likelihoods.append(engine.loglikelihood(asked))
    return EngineOutputs(engine.fingerprint_at_start, engine.close(), positions, responses, likelihoods)


def outputs_of(name: str, kind: str, count: int, tokens: int, stop: tuple[str, ...], gpus: int = 1) -> EngineOutputs:
    model = resolve(name)
    tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
    chats = format_chats(tokenizer, load_prompts("builtin:harmful", count), None)
    subspace = Subspace(LINE, model.weights)
    engine: Engine
    if kind == "vllm":
        engine = VllmEngine(model, tokenizer, subspace, counts=COUNTS._replace(together=count * 256), gpus=gpus)
    else:
        engine = TransformersEngine(model, tokenizer, subspace)
    return journey(engine, chats, stop, tokens)


ARCHITECTURES: dict[str, PretrainedConfig] = {
    "Llama, tied": llama_config(hidden_size=128, intermediate_size=96),
    "Llama, untied": llama_config(hidden_size=128, intermediate_size=96, tie_word_embeddings=False),
    "Qwen2, with biases": Qwen2Config(**llama_config(hidden_size=128).to_dict()),
    "Qwen3": Qwen3Config(**{**llama_config(hidden_size=128).to_dict(), "head_dim": 32}),
    "Mistral, a window": MistralConfig(**{**llama_config(hidden_size=128).to_dict(), "sliding_window": 64}),
    "GPT-2": GPT2Config(
        vocab_size=260, n_embd=128, n_layer=2, n_head=4, n_positions=512, bos_token_id=None, eos_token_id=0
    ),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_answers_equal_those_of_transformers_at_every_point(
    tmp_path: Path, apart: ProcessPoolExecutor, name: str
) -> None:
    """All answers and likelihoods in fp32; answers end with the end token, at the token limit, or once settled."""
    model = str(save_model(tmp_path / "model", ARCHITECTURES[name]))
    mine = outputs_of(model, "transformers", 6, 24, ("e", "z"))
    theirs = apart.submit(outputs_of, model, "vllm", 6, 24, ("e", "z")).result()
    assert theirs.start == theirs.end == mine.start, "the weights that were handed over are the transformers engine's"
    assert theirs.positions == mine.positions
    assert theirs.responses == mine.responses
    assert theirs.responses[0] == theirs.responses[3], "back at the origin, to the token"
    assert theirs.responses[0] != theirs.responses[1]
    for there, here in zip(theirs.likelihoods, mine.likelihoods, strict=True):
        assert [each.tokens for each in there] == [each.tokens for each in here]
        assert [each.greedy for each in there] == [each.greedy for each in here]
        for a, b in zip(there, here, strict=True):
            assert a.log_probability == pytest.approx(b.log_probability, rel=1e-4)


def test_generation_settings_hold_in_vllm_too(tmp_path: Path, apart: ProcessPoolExecutor) -> None:
    model = save_model(tmp_path / "model", ARCHITECTURES["Llama, tied"])
    plain = outputs_of(str(model), "transformers", 4, 16, ())
    settings = {"repetition_penalty": 1.3, "eos_token_id": [0, *range(120, 140)]}
    (model / "generation_config.json").write_text(json.dumps(settings))
    mine = outputs_of(str(model), "transformers", 4, 16, ())
    theirs = apart.submit(outputs_of, str(model), "vllm", 4, 16, ()).result()
    assert theirs.responses == mine.responses
    assert mine.responses != plain.responses


def test_a_model_on_two_tensor_parallel_workers_gives_the_same_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensor parallel on two processes, on two cores if there is no GPU: each moves its own half of the weights."""
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0|1")
    model = str(save_model(tmp_path / "model", ARCHITECTURES["Llama, tied"]))
    mine = outputs_of(model, "transformers", 6, 24, ("e", "z"))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        theirs = executor.submit(outputs_of, model, "vllm", 6, 24, ("e", "z"), 2).result()
    assert theirs.start == theirs.end == mine.start
    assert theirs.positions == mine.positions
    assert theirs.responses == mine.responses


def test_the_demo_model_has_the_same_verdicts_as_with_transformers(demo: object, apart: ProcessPoolExecutor) -> None:
    """In fp32 the keyword judge's verdicts are equal, and answers differ only where two tokens are equally likely."""
    judge = immediate_judge("keyword")
    mine = outputs_of("demo", "transformers", 40, 32, tuple(judge.stop))
    theirs = apart.submit(outputs_of, "demo", "vllm", 40, 32, tuple(judge.stop)).result()
    assert theirs.start == mine.start
    finishes = {response.finish for there in theirs.responses for response in there}
    assert {Finish.SETTLED, Finish.LENGTH} <= finishes
    assert [[r.finish for r in there] for there in theirs.responses] == [
        [r.finish for r in there] for there in mine.responses
    ]
    parted = [
        (place, number)
        for place, (there, here) in enumerate(zip(theirs.responses, mine.responses, strict=True))
        for number, (a, b) in enumerate(zip(there, here, strict=True))
        if a != b
    ]
    assert not [each for each in parted if each[0] in (0, 3)], "at the origin not one token differs"
    assert all(is_a_tie(mine, theirs, *each) for each in parted), parted
    print(f"parted by ties: {parted}")


def is_a_tie(mine: EngineOutputs, theirs: EngineOutputs, place: int, number: int) -> bool:
    """Return whether both tokens are equally likely, to rounding, at the place where two answers first differ."""
    model = resolve("demo")
    tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
    engine = TransformersEngine(model, tokenizer, Subspace(LINE, model.weights))
    engine.move_to(JOURNEY[place])
    (chat,) = format_chats(tokenizer, load_prompts("builtin:harmful", 40)[number : number + 1], None)
    a, b = (tokenizer(said.responses[place][number].text)["input_ids"] for said in (mine, theirs))
    same = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    so_far = torch.tensor([tokenizer(chat, add_special_tokens=False)["input_ids"] + a[:same]])
    with torch.inference_mode():
        logits = engine._model(input_ids=so_far).logits[0, -1]
    best = logits.topk(2).values
    return bool(best[0] - best[1] < 1e-3)


def scan_words(model: str, out: Path, *further: str) -> list[str]:
    """Return the words of the command that scans a model with vLLM."""
    asked = ["--limit=6", "--max-new-tokens=16", "--directions=2", "--steps=4", "--batch-size=8"]
    return ["scan", model, f"--out={out}", "--engine=vllm", *asked, *further]


class Once(NamedTuple):
    """A scan with vLLM in one process, not interrupted; read-only."""

    model: str
    out: Path
    said: str
    """On stderr."""


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    place = tmp_path_factory.mktemp("once")
    model = str(save_model(place / "model", ARCHITECTURES["Llama, tied"]))
    done = run_command(*scan_words(model, place / "run"))
    assert done.returncode == 0, done.stderr
    return Once(model, place / "run", done.stderr)


def test_an_interrupted_scan_gives_the_same_results(tmp_path: Path, once: Once) -> None:
    model = once.model
    assert "vllm" not in once.said.lower(), "what vLLM says of itself while it loads is no progress"
    with subprocess.Popen(
        command_line(*scan_words(model, tmp_path / "b")), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("3/9"):
                process.kill()
    done = run_command(*scan_words(model, tmp_path / "b"))
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stderr
    assert (once.out / "landscape.json").read_bytes() == (tmp_path / "b" / "landscape.json").read_bytes()
    run = safescape.load_run(once.out)
    assert run.survey.engine == "vllm"
    with Store.read(once.out) as store:
        assert store.sessions()[0].versions["vllm-cpu"] == "0.32.0"


def test_workers_with_vllm_give_the_same_results(tmp_path: Path, once: Once) -> None:
    done = run_command(*scan_words(once.model, tmp_path / "run", "--workers=2"))
    assert done.returncode == 0, done.stderr
    assert (once.out / "landscape.json").read_bytes() == (tmp_path / "run" / "landscape.json").read_bytes()


def test_capability_equals_that_of_the_transformers_engine(tmp_path: Path) -> None:
    """Multiple choice, perplexity, over-refusal and refusal margin, at every point."""
    model = str(save_model(tmp_path / "model", ARCHITECTURES["Llama, tied"]))
    questions = tmp_path / "questions.csv"
    questions.write_text(
        "question,choice0,choice1,choice2,choice3,answer\n"
        "What is one plus one?,two,three,four,five,0\nWhat is the sky?,red,blue,old,wet,1\n"
    )
    also = (f"--also=choice:{questions}", "--also=perplexity:builtin:benign", "--also=over-refusal:builtin:benign")
    asked = (*also, "--also=margin:builtin:harmful", "--also-limit=2", "--judge=keyword")
    runs = {}
    for engine in ("vllm", "transformers"):
        # the last --engine applies
        done = run_command(*scan_words(model, tmp_path / engine, *asked, f"--engine={engine}"))
        assert done.returncode == 0, done.stderr
        runs[engine] = safescape.load_run(tmp_path / engine).landscape
    assert [p.keyword_asr for p in runs["vllm"].points] == [p.keyword_asr for p in runs["transformers"].points]
    mine, theirs = runs["transformers"].measures, runs["vllm"].measures
    assert {measure.kind for measure in mine} >= {"accuracy", "perplexity", "over_refusal", "margin"}
    for a, b in zip(theirs, mine, strict=True):
        assert (a.probe, a.line, a.coords) == (b.probe, b.line, b.coords)
        assert a.value == pytest.approx(b.value, rel=1e-4, abs=1e-4)


def test_a_run_of_the_other_engine_is_not_resumed(tmp_path: Path) -> None:
    model = str(save_model(tmp_path / "model", ARCHITECTURES["Llama, tied"]))
    safescape.scan(model, out=tmp_path / "run", limit=6, max_new_tokens=16, directions=2, steps=4, batch_size=8)
    refused = run_command(*scan_words(model, tmp_path / "run"))
    assert refused.returncode == 2
    assert "engine: 'vllm' here, 'transformers' there" in refused.stderr


def test_a_model_that_vllm_does_not_support_is_refused(tmp_path: Path) -> None:
    """vLLM's kernels do not support this width of attention heads."""
    model = str(save_model(tmp_path / "model", llama_config()))
    refused = run_command(*scan_words(model, tmp_path / "run"))
    assert refused.returncode == 2, refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 2, refused.stderr
    assert "vLLM cannot take it" in refused.stderr
    assert "leave --engine out" in refused.stderr


def test_without_the_extra_the_error_says_what_to_install(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safescape.engines.vllm.launch.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'safescape\[vllm\]'"):
        safescape.scan(str(tiny_model), out=tmp_path / "run", engine="vllm")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"engine": "abacus"}, "--engine abacus: expected transformers or vllm"),
        ({"engine": "vllm", "tensor_parallel": 0}, "--tensor-parallel 0: expected at least 1"),
        ({"engine": "vllm", "tensor_parallel": 64}, "--tensor-parallel 64: expected --engine vllm and as many GPUs"),
        ({"tensor_parallel": 2}, "--tensor-parallel 2: expected --engine vllm"),
    ],
)
def test_bad_input_is_refused(tiny_model: Path, tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        safescape.scan(str(tiny_model), out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()
