"""Models on devices that are not the CPU: their answers, their weights, and layers on two of them.

The devices are stand-ins on the CPU; see `helpers.fake_devices`. `benchmarks/gpu.py` uses real ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GemmaConfig, GPT2Config, MistralConfig, PretrainedConfig

from helpers import tiny_models
from helpers.fake_devices import fake_devices
from helpers.families import FAMILIES
from safescape import InputError
from safescape.engines import TransformersEngine, devices
from safescape.engines.loading import load_model
from safescape.probes import format_chats, load_tokenizer
from safescape.survey import Lines, Point, RandomAxis
from safescape.weights import Subspace, noise_device, resolve

MOVED = Point(0, (0.2,))
PROMPTS = ["a", "bb", "what is this", "a rather longer request than the others", "dd"]
FAMILY = {family.model_type: family.deepened() for family in FAMILIES}
SHAPE = {**tiny_models.llama_config().to_dict(), "num_hidden_layers": 4, "layer_types": None}
ARCHITECTURES: dict[str, PretrainedConfig] = {
    "tied head": tiny_models.llama_config(num_hidden_layers=4),
    "untied head": tiny_models.llama_config(num_hidden_layers=4, tie_word_embeddings=False),
    "scaled embedding": GemmaConfig(**{**SHAPE, "model_type": "gemma", "head_dim": 8}),
    "window": MistralConfig(**{**SHAPE, "model_type": "mistral", "sliding_window": 16}),
    "learned positions": GPT2Config(
        vocab_size=260, n_embd=32, n_layer=4, n_head=4, n_positions=256, bos_token_id=None, eos_token_id=0
    ),
    **{kind: FAMILY[kind].config() for kind in ("gpt_oss", "mamba2", "qwen3_next", "rwkv")},
}


@pytest.fixture
def two() -> Iterator[Sequence[torch.device]]:
    with fake_devices() as found:
        yield found


def engine_of(directory: Path, device: str = "cpu", **settings: Any) -> TransformersEngine:
    model = resolve(str(directory))
    tokenizer = load_tokenizer(directory, chat_template=None, trust_remote_code=False)
    lines = Lines(axes=(RandomAxis(seed=0, span=0.5, steps=2),))
    return TransformersEngine(model, tokenizer, Subspace(lines, model.weights), device=device, **settings)


def answers_of(engine: TransformersEngine, point: Point) -> tuple[list[str], list[float], str]:
    """Return the answers at a point, the log-likelihoods of continuations, and the fingerprint of the weights."""
    engine.move_to(point)
    chats = format_chats(engine._tokenizer, PROMPTS, None)
    responses = engine.respond(chats, max_new_tokens=24, stop=list("aeiouAEIOU0123456789"))
    texts = [response.text for response in responses]
    likelihoods = engine.loglikelihood([("what is", " this"), ("what is", " it"), ("zebra", "s")])
    return texts, [each.log_probability for each in likelihoods], engine.fingerprint()


def use_two(monkeypatch: pytest.MonkeyPatch, two: Sequence[torch.device], room: int) -> None:
    """Let `cuda` be two fake devices with so many bytes of room."""

    def place(model: Any, device: str, name: str) -> None:
        devices.distribute(model, two, [room, room], name)

    monkeypatch.setattr("safescape.engines.transformers.place", place)


@pytest.mark.parametrize("config", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_layers_on_two_devices(
    config: PretrainedConfig, tmp_path: Path, two: Sequence[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tiny_models.save_model(tmp_path / "model", config)
    alone = engine_of(directory)
    expected = [answers_of(alone, point) for point in (Point(None, (0.0,)), MOVED)]
    assert any(len(set(map(len, texts))) > 1 for texts, _, _ in expected), "no row leaves a batch before the others"
    use_two(monkeypatch, two, 2**30)
    spread = engine_of(directory, "cuda", batch_size=3)
    places = {parameter.device for parameter in spread._model.parameters()}
    assert places == set(two)
    for point, (texts, likelihoods, fingerprint) in zip((Point(None, (0.0,)), MOVED), expected, strict=True):
        found = answers_of(spread, point)
        assert found[0] == texts
        assert found[1] == pytest.approx(likelihoods, abs=1e-4)
        assert found[2] == fingerprint
    assert spread.close() == spread.fingerprint_at_start == alone.fingerprint_at_start


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_other_device(dtype: torch.dtype, tmp_path: Path, two: Sequence[torch.device]) -> None:
    directory = tiny_models.save_model(tmp_path / "model")
    expected = answers_of(engine_of(directory, dtype=dtype), MOVED)
    engine = engine_of(directory, "meta:1", dtype=dtype)
    assert engine._model.device == two[1]
    found = answers_of(engine, MOVED)
    # Its weights are those of the CPU to the bit, whatever noise such a device would make.
    assert found[2] == expected[2]
    if dtype == torch.float32:
        assert found[0] == expected[0]
        assert found[1] == pytest.approx(expected[1], abs=1e-4)


def test_tied_parameters_stay_together(tmp_path: Path, two: Sequence[torch.device]) -> None:
    loaded = load_model(resolve(str(tiny_models.save_model(tmp_path / "m", ARCHITECTURES["tied head"]))), torch.float32)
    devices.distribute(loaded, two, [2**30, 2**30], "m")
    model: Any = loaded
    assert model.lm_head.weight is model.model.embed_tokens.weight
    shares = {device: sum(p.nbytes for p in model.parameters() if p.device == device) for device in two}
    assert min(shares.values()) > 0.25 * sum(shares.values()), shares


@pytest.mark.parametrize(
    ("dtype", "advice"),
    [(torch.float32, "give --dtype bfloat16, more GPUs, or"), (torch.bfloat16, "give more GPUs, or")],
)
def test_a_model_that_fits_on_no_number_of_devices(
    tmp_path: Path, two: Sequence[torch.device], dtype: torch.dtype, advice: str
) -> None:
    loaded = load_model(resolve(str(tiny_models.save_model(tmp_path / "m"))), dtype)
    message = rf"m: its weights take .* GB, and 2 GPUs have room for .*; {advice} --device cpu; .* not offloaded"
    with pytest.raises(InputError, match=message):
        devices.distribute(loaded, two, [2**12, 2**12], "m")


def test_only_what_is_too_large_is_distributed(
    tmp_path: Path, two: Sequence[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_model(resolve(str(tiny_models.save_model(tmp_path / "m"))), torch.float32)
    moved: list[tuple[Any, ...]] = []
    free = [2**30, 2**30]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(devices, "free_memory", lambda device: free[device.index])
    monkeypatch.setattr(devices, "distribute", lambda model, where, room, name: moved.append((*where, *room)))
    monkeypatch.setattr(torch.nn.Module, "to", lambda model, where: moved.append((where,)))
    devices.place(loaded, "cuda", "m")
    free[0] = 2**10
    devices.place(loaded, "cuda", "m")
    devices.place(loaded, "cuda:0", "m")
    devices.place(loaded, "mps", "m")
    cuda = torch.device("cuda")
    first, second = (torch.device("cuda", number) for number in range(2))
    assert moved == [(cuda,), (first, second, int(0.8 * 2**10), int(0.8 * 2**30)), (first,), (torch.device("mps"),)]


@pytest.mark.parametrize(
    ("device", "kind"), [("cpu", "cpu"), ("cuda", "cuda"), ("cuda:1", "cuda"), ("mps", "cpu"), ("xpu:1", "cpu")]
)
def test_what_makes_the_noise(device: str, kind: str) -> None:
    assert noise_device(device) == kind


def test_accelerate_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model(resolve(str(tiny_models.save_model(tmp_path / "m"))), torch.float32)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="accelerate, which is not installed; type pip install accelerate"):
        devices.distribute(loaded, [torch.device("cuda", 0), torch.device("cuda", 1)], [1, 1], "m")
