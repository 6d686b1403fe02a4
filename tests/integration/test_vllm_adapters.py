"""Unmerged adapters in the real vLLM, on this machine's CPU: each point answers as it does with moved weights.

vLLM binds threads and changes torch for its whole process, so it runs in a process of its own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import GPT2Config

import safescape
from helpers.engine_outputs import EngineOutputs
from helpers.tiny_models import llama_config, save_adapter, save_model
from safescape.engines import Engine, Likelihood, TokenCounts, TransformersEngine, VllmEngine
from safescape.engines.vllm.lora import LoadedAdapters
from safescape.errors import InputError
from safescape.measure import Progress
from safescape.probes import format_chats, load_prompts, load_tokenizer
from safescape.store import Store
from safescape.survey import InterpolationAxis, Lines, Point, Response
from safescape.weights import Subspace, resolve

ORIGIN = Point(None, (0.0,))
AWAY = tuple(Point(0, (alpha,)) for alpha in (0.5, 1.0, -0.25))
COUNTS = TokenCounts(400, 400, 12 * 400)
PAIRS = {"target_modules": ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"], "r": 6, "use_rslora": True}


class Models(NamedTuple):
    base: str
    tuned: str


class Together(NamedTuple):
    """The results of several points in one batch, and how many tokens of each request came from the prefix cache."""

    responses: list[Response]
    likelihoods: list[Likelihood]
    cached: list[int]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    place = tmp_path_factory.mktemp("models")
    base = save_model(place / "base", llama_config(hidden_size=128, intermediate_size=96))
    return Models(str(base), f"{base}+{save_adapter(base, place / 'adapter', **PAIRS)}")


def chats_of(model: str) -> list[str]:
    tokenizer = load_tokenizer(resolve(model).directory, chat_template=None, trust_remote_code=False)
    # long enough to fill whole blocks of the prefix cache; only whole blocks are reused
    prompts = [f"{prompt} {prompt} {prompt}" for prompt in load_prompts("builtin:harmful", 4)]
    return format_chats(tokenizer, prompts, None)


def engine_of(models: Models, kind: str, batch_size: int = 12) -> Engine:
    model = resolve(models.base)
    tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
    axis = InterpolationAxis(toward=models.tuned, fingerprint="sha256:0", steps=4, low=-0.25, high=1.0)
    subspace = Subspace(Lines(axes=(axis,)), model.weights)
    if kind == "transformers":
        return TransformersEngine(model, tokenizer, subspace)
    adapters = LoadedAdapters(axis, len(AWAY), torch.float32) if kind == "unmerged" else None
    return VllmEngine(model, tokenizer, subspace, batch_size=batch_size, counts=COUNTS, adapters=adapters)


def asked(engine: Engine, chats: Sequence[str]) -> tuple[list[Response], list[Likelihood]]:
    responses = engine.respond(chats, max_new_tokens=16, stop=("e",))
    return responses, engine.loglikelihood([(chat, " I cannot help with that.") for chat in chats])


def outputs_of(models: Models, kind: str) -> EngineOutputs:
    engine = engine_of(models, kind)
    engine.canary(AWAY[0])
    positions, responses, likelihoods = [], [], []
    for point in (ORIGIN, *AWAY, ORIGIN):
        positions.append(engine.move_to(point))
        said, scored = asked(engine, chats_of(models.base))
        responses.append(said)
        likelihoods.append(scored)
    return EngineOutputs(engine.fingerprint_at_start, engine.close(), positions, responses, likelihoods)


def outputs_together(models: Models) -> tuple[Together, Together, list[str]]:
    """Return the results in one batch and one request at a time, and the messages of refused calls."""
    found: list[Together] = []
    chats = chats_of(models.base)
    refused: list[str] = []
    for batch_size in (12, 1):
        engine = engine_of(models, "unmerged", batch_size)
        assert isinstance(engine, VllmEngine)
        if not found:
            try:
                engine.stand_at([ORIGIN, AWAY[0]])
            except ValueError as error:
                refused.append(str(error))
        engine.stand_at(AWAY)
        # every request twice, so that the second one could reuse the first one's cache
        twice = [chat for chat in chats for _ in range(2)] if batch_size == 1 else chats
        seen: list[int] = []
        generate = engine._generate

        def seeing(*arguments: Any, generate: Any = generate, seen: list[int] = seen) -> list[Any]:
            given = generate(*arguments)
            seen.extend(each.num_cached_tokens for each in given)
            return list(given)

        engine._generate = seeing  # type: ignore[method-assign, assignment]
        responses = engine.respond(twice * len(AWAY), max_new_tokens=16, stop=("e",))
        cached = list(seen)
        scored = engine.loglikelihood([(chat, " I cannot help with that.") for chat in chats * len(AWAY)])
        found.append(Together(responses, scored, cached))
        engine.close()
    return found[0], found[1], refused


def test_a_scaled_adapter_gives_the_answers_of_moved_weights(models: Models, apart: ProcessPoolExecutor) -> None:
    """In fp32 all tokens are equal and likelihoods agree to 1e-4, alone and in one batch; points share no cache."""
    mine = outputs_of(models, "transformers")
    unmerged, merged = (apart.submit(outputs_of, models, kind).result() for kind in ("unmerged", "merged"))
    assert unmerged.positions == merged.positions == mine.positions, "nothing is rounded"
    assert unmerged.start == unmerged.end == mine.start == merged.start
    assert unmerged.responses == merged.responses == mine.responses
    assert unmerged.responses[0] == unmerged.responses[-1]
    assert unmerged.likelihoods[0] == unmerged.likelihoods[-1], "the origin, to the bit"
    assert len({str(responses) for responses in unmerged.responses}) == 4, "every point says something else"
    for there in (merged, mine):
        for ours, theirs in zip(unmerged.likelihoods, there.likelihoods, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                assert a.log_probability == pytest.approx(b.log_probability, abs=1e-4, rel=1e-6)

    together, in_turn, refused = apart.submit(outputs_together, models).result()
    alone = [response for point in unmerged.responses[1:-1] for response in point]
    assert together.responses == alone
    assert in_turn.responses[::2] == in_turn.responses[1::2] == alone
    for given in (together, in_turn):
        for a, b in zip(
            given.likelihoods, (each for point in unmerged.likelihoods[1:-1] for each in point), strict=True
        ):
            assert a.log_probability == pytest.approx(b.log_probability, abs=1e-4, rel=1e-6)
    count = len(in_turn.cached) // len(AWAY)
    for first in range(0, len(in_turn.cached), count):
        assert in_turn.cached[first] == 0, "the first request at a point is given nothing of the point before"
        assert min(in_turn.cached[first + 1 : first + count : 2]) > 0, "though there is a cache, that its twin is given"
    assert refused == ["cannot stand at 2 points at once: weights are moved, or one is the origin"]


def refused_by_vllm(models: Models) -> str:
    with pytest.raises(InputError) as refused:
        engine_of(models, "unmerged")
    return str(refused.value)


def test_a_model_without_lora_support_in_vllm_is_refused(tmp_path: Path, apart: ProcessPoolExecutor) -> None:
    config = GPT2Config(
        vocab_size=260, n_embd=128, n_layer=2, n_head=4, n_positions=512, bos_token_id=None, eos_token_id=0
    )
    base = save_model(tmp_path / "base", config)
    adapter = save_adapter(base, tmp_path / "adapter", target_modules=["c_fc"], fan_in_fan_out=True)
    said = apart.submit(refused_by_vllm, Models(str(base), f"{base}+{adapter}")).result()
    assert "vLLM cannot take it (GPT2LMHeadModel does not support LoRA yet.); give --adapter merged" in said


def measured(models: Models, out: Path, adapter: str, further: dict[str, object], kill_at: int | None = None) -> None:
    def killed(progress: Progress) -> None:
        if progress.finished == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    asked: dict[str, Any] = {"limit": 6, "steps": 5, "beyond": 0.2, "max_new_tokens": 16, "batch_size": 16}
    asked |= {"out": out, "engine": "vllm", "adapter": adapter, "on_progress": killed, **further}
    safescape.path(*models, **asked)


def test_a_line_has_the_same_results_with_unmerged_and_merged_adapters(
    models: Models, apart: ProcessPoolExecutor, tmp_path: Path
) -> None:
    """With capability probes and judges: merged or not, and killed within a group and resumed by a Ray worker."""
    further: dict[str, object] = {"also": ["perplexity:builtin:benign", "over-refusal:builtin:benign"], "also_limit": 2}
    for adapter in ("unmerged", "merged"):
        apart.submit(measured, models, tmp_path / adapter, adapter, further).result()
    runs = {adapter: safescape.load_run(tmp_path / adapter) for adapter in ("unmerged", "merged")}
    mine, theirs = runs["unmerged"].landscape, runs["merged"].landscape
    assert runs["unmerged"].survey.points_together == 3
    assert [point.effective for point in mine.points] == [point.coords for point in mine.points]
    assert mine.points == theirs.points
    assert {measure.kind for measure in mine.measures} >= {"perplexity", "over_refusal"}
    for a, b in zip(mine.measures, theirs.measures, strict=True):
        assert (a.probe, a.coords) == (b.probe, b.coords)
        assert a.value == pytest.approx(b.value, rel=1e-4)
    page = (tmp_path / "unmerged" / "report.html").read_text()
    assert "adapter unmerged: no weight moves, up to 3 points in one batch" in page
    assert "weights are moved" in (tmp_path / "merged" / "report.html").read_text()

    # 8 points: the origin, then groups of 3; after 3 points the second group is stored in part
    with pytest.raises(BrokenProcessPool):
        apart.submit(measured, models, tmp_path / "killed", "unmerged", further, 3).result()
    with Store.read(tmp_path / "killed") as store:
        assert len(store.points.finished()) == 3
    progress: list[Progress] = []
    measured(models, tmp_path / "killed", "unmerged", {**further, "workers": 1, "on_progress": progress.append})
    assert (progress[0].finished, progress[0].note) == (3, runs["unmerged"].survey.choice)
    whole, resumed = ((tmp_path / name / "landscape.json").read_bytes() for name in ("unmerged", "killed"))
    assert whole == resumed


def test_bad_input_is_refused_in_one_line(models: Models, refused: Callable[[Sequence[str], str], None]) -> None:
    refused(["path", *models, "--adapter", "unmerged"], "--adapter unmerged: --engine transformers moves weights")
