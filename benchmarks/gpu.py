"""python benchmarks/gpu.py [--shape llama-2-7b|llama-3-8b] [--out FILE.json]

Measure an NVIDIA GPU with a Llama of random weights in bf16, shaped like Llama 2's 7B: a move, the prefill of 80
prompts of 200 tokens, decoding 128 tokens for each, and the same with plain `generate`. Uses the installed torch,
transformers and Triton, and downloads nothing. First it checks the GPU-only code on small models; a wrong result ends
it with exit code 1.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import transformers
import triton
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, PreTrainedTokenizerFast

import safescape
from safescape.engines import TransformersEngine
from safescape.engines.cuda_graphs import GraphDecoder
from safescape.engines.decoding import decode
from safescape.engines.devices import distribute, place
from safescape.judges import KeywordJudge
from safescape.survey import Finish, Lines, Plane, Point, RandomAxis
from safescape.weights import (
    Direction,
    InterpolationDirection,
    Model,
    RandomDirection,
    Subspace,
    dot,
    mover_of,
    resolve,
)
from safescape.weights.subspace import Displacement, Term
from safescape.weights.triton_kernels import Noise, add_noise, standard_normal

PROMPTS, READ, WRITTEN = 80, 200, 128
GPU = torch.device("cuda")
ORIGIN = Point(None, (0.0,))
_LARGE = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}
SHAPES = {
    "llama-2-7b": {**_LARGE, "intermediate_size": 11008, "num_key_value_heads": 32, "vocab_size": 32000},
    "llama-3-8b": {**_LARGE, "intermediate_size": 14336, "num_key_value_heads": 8, "vocab_size": 128256},
}
SMALL = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 8}


def main() -> None:
    """Check, measure, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--out", type=Path, help="where the figures go as JSON")
    asked.add_argument("--shape", choices=SHAPES, default="llama-2-7b")
    options = asked.parse_args()
    machine = f"{torch.cuda.get_device_name()}, torch {torch.__version__}, Triton {triton.__version__}"
    print(f"{machine}, transformers {transformers.__version__}, Python {platform.python_version()}", flush=True)
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.exists() else None) as folder:
        is_right = check(Path(folder) / "small")
        found = {"machine": machine, "shape": options.shape, **measure(Path(folder) / "large", options.shape)}
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if is_right else 1)


def check(folder: Path) -> bool:
    """Compare the GPU-only code with the portable code."""
    results = [*noise_is_right()]
    for heads in (8, 2):
        there = save(folder / str(heads), num_key_value_heads=heads, vocab_size=2000, **SMALL)
        results += engine_is_right(there, heads)
        if torch.cuda.device_count() > 1:
            results.append(layers_on_two_are_right(there, heads))
    results += [dtype_is_right(folder / str(dtype), dtype) for dtype in (torch.float32, torch.bfloat16)]
    for name, is_right, detail in results:
        print(f"{'right' if is_right else 'WRONG'}  {name}: {detail}", flush=True)
    return all(is_right for _, is_right, _ in results)


def noise_is_right() -> list[tuple[str, bool, str]]:
    """Check the moments of the noise, and moves against fp64."""
    shape, seed = torch.Size((4099, 1021)), 2**62 + 12345
    a, b = standard_normal(seed, shape, GPU), standard_normal(7, shape, GPU)
    moments = [float((a.double() ** power).mean()) for power in (1, 2, 3, 4)]
    errors = [(error / a.numel()) ** 0.5 for error in (1, 2, 15, 96)]
    far = max(abs(m - e) / s for m, e, s in zip(moments, (0, 1, 0, 3), errors, strict=True))
    found = [("moments of the noise", far < 5, f"at most {far:.1f} standard errors off")]
    again = torch.equal(a, standard_normal(seed, shape, GPU))
    part = torch.equal(a.flatten()[:50_000], standard_normal(seed, torch.Size((50_000,)), GPU))
    found.append(("noise by seed and place alone", again and part, "twice, and in a shorter tensor"))
    for start in (torch.float32, torch.bfloat16):
        for dtype in (torch.float32, torch.bfloat16):
            origin = torch.randn(shape, device=GPU).to(start)
            into = torch.full(shape, float("nan"), dtype=dtype, device=GPU)
            dots = add_noise(origin, [Noise(seed, 0.25), Noise(7, -0.5)], into, measured=True)
            exact = origin.double() + 0.25 * a.double() - 0.5 * b.double()
            same = float((into == exact.float().to(dtype)).double().mean())
            error = float(((into.double() - exact).abs() / exact.abs().clamp_min(0.01)).max())
            taken = into.double() - origin.to(dtype).double()
            assert dots is not None
            off = max(float((d / (taken * n).sum() - 1).abs()) for d, n in zip(dots, (a, b), strict=True))
            limit = 2**-8 if dtype == torch.bfloat16 else 1e-5
            found.append(
                (
                    f"{start} moved, rounded to {dtype}",
                    error < limit and off < 1e-5 and (same > 0.999 or dtype == torch.float32),
                    f"{same:.4%} as rounded once, {error:.1e} off at most, products {off:.0e}",
                )
            )
    return found


def engine_is_right(there: Path, heads: int) -> list[tuple[str, bool, str]]:
    """Compare the engine's answers with those without graphs, on a CPU, and of a second call."""
    found, words = [], tokenizer(2000)
    texts = prompts(48, 30) + prompts(16, 75)
    plane = Plane(axes=(RandomAxis(seed=0, span=0.5, steps=2), RandomAxis(seed=1, span=0.5, steps=2)))
    model = resolve(str(there))
    answers = {}
    for device in ("cpu", "cuda"):
        engine = TransformersEngine(model, words, Subspace(lines(), model.weights, device=device), device=device)
        answers[device] = engine.respond(texts, max_new_tokens=90, stop=())
        if device == "cuda":
            again = engine.respond(texts, max_new_tokens=90, stop=())
            found.append((f"{heads} heads, fp32, twice", again == answers[device], "the same answers"))
            rows = words(texts, add_special_tokens=False)["input_ids"]
            plain, replayed = (tokens_of(engine, rows, opened) for opened in (False, True))
            same = sum(one == other for one, other in zip(plain, replayed, strict=True))
            found.append((f"{heads} heads, fp32, with graphs", same == len(rows), f"{same} of {len(rows)} as without"))
            engine.canary(Point(0, (0.05,)))
        engine.close()
    same = sum(one.text == other.text for one, other in zip(answers["cpu"], answers["cuda"], strict=True))
    found.append((f"{heads} heads, fp32, GPU and CPU", same >= 0.95 * len(texts), f"{same} of {len(texts)} alike"))
    engine = TransformersEngine(
        model, words, Subspace(plane, model.weights, device="cuda"), device="cuda", dtype=torch.bfloat16
    )
    first = engine.move_to(Point(None, (0.5, -0.5)))
    mark = engine.fingerprint()
    engine.move_to(Point(None, (-0.5, 0.5)))
    second = engine.move_to(Point(None, (0.5, -0.5)))
    found.append(("a place on a plane, twice", mark == engine.fingerprint() and first == second, mark[:20]))
    off = max(abs(first.effective[0] - 0.5), abs(first.effective[1] + 0.5))
    found.append(("its effective coordinates", off < 0.01, f"{first.effective}"))
    name = next(name for name in model.weights.names() if "q_proj" in name)
    start = model.weights.tensor(name).to(GPU)
    one, other = (RandomDirection(seed).tensor(name, start) for seed in (0, 1))
    share = Subspace(plane, model.weights, device="cuda").share
    exact = start.double() + 0.5 * one.double() - 0.5 * (other.double() - share * one.double())
    live = engine._live[name].read().double()
    error = float((live - exact).norm() / exact.norm())
    found.append(("its weights", error < 2**-8, f"{error:.1e} from those computed in fp64"))
    length = dot(one, one) ** 0.5 / float(start.double().norm())
    found.append(("the length of its direction", abs(length - 1) < 1e-5, f"{length:.7f} of the tensor's"))
    engine.close()
    return found


def layers_on_two_are_right(there: Path, heads: int) -> tuple[str, bool, str]:
    """Compare a model whose layers are on two GPUs with the same model on one, at a moved point."""
    words, model, texts = tokenizer(2000), resolve(str(there)), prompts(48, 30)
    devices = [torch.device("cuda", number) for number in range(2)]

    def distributed(live: PreTrainedModel, device: str, name: str) -> None:
        distribute(live, devices, [2**30, 2**30], name)

    found = []
    for placed in (place, distributed):
        with mock.patch("safescape.engines.transformers.place", placed):
            engine = TransformersEngine(model, words, Subspace(lines(), model.weights, device="cuda"), device="cuda")
        engine.move_to(Point(0, (0.05,)))
        used = {parameter.device for parameter in engine._model.parameters()}
        answers = [answer.text for answer in engine.respond(texts, max_new_tokens=60, stop=())]
        found.append((len(used), engine.fingerprint(), answers))
        engine.close()
    (one, mark, expected), (two, other_mark, answers) = found
    same = sum(a == b for a, b in zip(expected, answers, strict=True))
    is_right = (one, two) == (1, 2) and mark == other_mark and same >= 0.95 * len(texts)
    return f"{heads} heads, layers on two GPUs", is_right, f"{same} of {len(texts)} answers alike, {mark[:19]}"


def dtype_is_right(folder: Path, stored: torch.dtype) -> tuple[str, bool, str]:
    """Scan a small checkpoint with `--dtype auto`, which is to choose the dtype that it is stored in."""
    there = save(folder / "model", stored, num_key_value_heads=8, vocab_size=2000, **SMALL)
    template = folder / "template.jinja"
    template.write_text("{{ messages[-1].content }}", encoding="utf-8")
    run = safescape.scan(
        str(there), directions=1, steps=2, limit=4, max_new_tokens=4, chat_template=template, out=folder / "run"
    )
    chosen = run.survey.dtype
    return f"auto, a checkpoint in {str(stored)[6:]}", chosen == str(stored)[6:], f"{chosen} on {run.survey.device}"


def tokens_of(engine: TransformersEngine, rows: Sequence[Sequence[int]], replayed: bool) -> list[Any]:
    """Decode without the engine, with graphs or without."""
    return decode(
        engine._model,
        rows,
        end_tokens=frozenset({0}),
        max_new_tokens=90,
        batch_size=128,
        # some rows leave early, like settled answers
        ends_as=lambda tokens: Finish.SETTLED if len(tokens) > 3 + tokens[0] % 120 else None,
        open_batch=GraphDecoder(engine._model).open_batch if replayed else None,
    )


def measure(folder: Path, shape: str) -> dict[str, Any]:
    """Time the large model."""
    copied = torch.empty(2**32, dtype=torch.uint8, device=GPU)
    into = torch.empty_like(copied)
    memory = 2 * copied.numel() / timed(lambda: into.copy_(copied), 10)
    copied = into = torch.empty(0)
    a, b = (torch.randn(8192, 8192, dtype=torch.bfloat16, device=GPU) for _ in range(2))
    peak = 2 * 8192**3 / timed(lambda: a @ b, 10)
    a = b = torch.empty(0)
    print(f"memory {memory / 1e12:.2f} TB/s read and written, products {peak / 1e12:.0f} TFLOP/s in bf16", flush=True)
    there = save(folder, **SHAPES[shape])
    model, words, texts = resolve(str(there)), tokenizer(SHAPES[shape]["vocab_size"]), prompts(PROMPTS, READ)
    sizes = {name: model.weights.tensor(name).numel() for name in model.weights.names()}
    parameters = sum(sizes.values())
    multiplied = sum(size for name, size in sizes.items() if "embed_tokens" not in name)
    began = time.monotonic()
    engine = TransformersEngine(
        model, words, Subspace(lines(), model.weights, device="cuda"), device="cuda", dtype=torch.bfloat16
    )
    found: dict[str, Any] = {
        "parameters": parameters,
        "bytes_of_weights": 2 * parameters,
        "memory_bandwidth_bytes_per_s": memory,
        "peak_flops": peak,
        "seconds_to_load": time.monotonic() - began,
    }
    show(found, "seconds_to_load")
    began = time.monotonic()
    engine.move_to(Point(0, (0.1,)))
    torch.cuda.synchronize()
    found["seconds_of_first_move"] = time.monotonic() - began
    show(found, "seconds_of_first_move")
    alphas = iter([0.2, -0.1, 0.3, -0.2, 0.4, -0.3, 0.1, -0.4] * 3)
    found["seconds_of_move"] = timed(lambda: engine.move_to(Point(0, (next(alphas),))), 10)
    show(found, "seconds_of_move", floor=4 * parameters / memory, share="move_share_of_memory_bandwidth")
    between(engine, model, found)
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    engine.move_to(ORIGIN)

    def respond(most: int, stop: tuple[str, ...] = ()) -> int:
        given = engine.respond(texts, max_new_tokens=most, stop=stop)
        return sum(each.tokens for each in given)

    began = time.monotonic()
    respond(WRITTEN)
    found["seconds_of_first_answers"] = time.monotonic() - began
    show(found, "seconds_of_first_answers")
    found["seconds_of_answers"] = timed(lambda: respond(WRITTEN), 3)
    found["tokens_written"] = respond(WRITTEN)
    head = sizes["lm_head.weight"]
    reading = 2 * (multiplied - head) * PROMPTS * READ + 2 * head * PROMPTS
    writing = 2 * multiplied * (found["tokens_written"] - PROMPTS)
    show(found, "seconds_of_answers", floor=(reading + writing) / peak, share="share_of_peak")
    found["seconds_of_answers_with_keywords"] = timed(lambda: respond(WRITTEN, tuple(KeywordJudge.stop)), 2)
    show(found, "seconds_of_answers_with_keywords")
    found["seconds_of_reading"] = timed(lambda: respond(1), 3)
    show(found, "seconds_of_reading", floor=reading / peak, share="share_of_peak_reading")
    steps = WRITTEN - 1
    found["seconds_of_step"] = (found["seconds_of_answers"] - found["seconds_of_reading"]) / steps
    config = engine._model.config
    token = 2 * 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    seen = 2 * multiplied + PROMPTS * (READ + WRITTEN / 2) * token
    show(found, "seconds_of_step", floor=seen / memory, share="step_share_of_memory_bandwidth")
    found["bytes_of_keys_and_values_of_token"] = token
    found["peak_bytes"] = torch.cuda.max_memory_allocated()
    print(f"peak memory {found['peak_bytes'] / 2**30:.1f} GiB, {found['peak_bytes'] / 2 / parameters:.2f} of the model")
    profile(lambda: respond(24))
    engine._open_batch = None
    respond(8)
    found["seconds_of_answers_without_graphs"] = timed(lambda: respond(WRITTEN), 1)
    show(found, "seconds_of_answers_without_graphs")
    began = time.monotonic()
    engine.fingerprint()
    found["seconds_of_fingerprint"] = time.monotonic() - began
    show(found, "seconds_of_fingerprint")
    began = time.monotonic()
    engine.close()
    found["seconds_to_close"] = time.monotonic() - began
    show(found, "seconds_to_close")
    engine = None  # type: ignore[assignment]
    gc.collect()
    torch.cuda.empty_cache()
    plainly(model, words, texts, found)
    return found


def between(engine: TransformersEngine, model: Model, found: dict[str, Any]) -> None:
    """Time moves toward another checkpoint; the same checkpoint is used, which takes as long."""
    direction = InterpolationDirection(resolve(str(model.directory)).weights)

    class Between:
        origin = ORIGIN

        def displacement(self, point: Point) -> Displacement:
            return Displacement(None, Term(point.coords[0], direction))

        def frame(self, point: Point) -> tuple[Direction, ...]:
            return (direction,)

    shapes = {name: live.shape for name, live in engine._live.items()}
    places = {name: live.read() for name, live in engine._live.items()}
    mover = mover_of(model.weights, Between(), shapes, dtype=torch.bfloat16, device=GPU)

    def move() -> None:
        for _ in mover.move(Point(0, (0.5,)), places):
            pass

    found["seconds_of_move_between"] = timed(move, 5)
    floor = 6 * found["parameters"] / found["memory_bandwidth_bytes_per_s"]
    show(found, "seconds_of_move_between", floor=floor, share="move_between_share_of_memory_bandwidth")


def plainly(model: Model, words: PreTrainedTokenizerFast, texts: Sequence[str], found: dict[str, Any]) -> None:
    """Time the same with plain transformers."""
    plain: Any = AutoModelForCausalLM.from_pretrained(model.directory, dtype=torch.bfloat16)
    torch.nn.Module.to(plain, GPU).eval()
    tokens = torch.tensor(words(list(texts), add_special_tokens=False)["input_ids"], device=GPU)

    def generate(rows: torch.Tensor, most: int) -> None:
        with torch.inference_mode():
            plain.generate(
                input_ids=rows,
                attention_mask=torch.ones_like(rows),
                max_new_tokens=most,
                min_new_tokens=most,
                do_sample=False,
            )

    generate(tokens, 4)
    found["seconds_of_generate"] = timed(lambda: generate(tokens, WRITTEN), 1)
    show(found, "seconds_of_generate")
    four = timed(lambda: generate(tokens[:4], WRITTEN), 1)
    found["seconds_of_generate_in_fours"] = four * PROMPTS / 4
    show(found, "seconds_of_generate_in_fours")
    for key in ("seconds_of_generate", "seconds_of_generate_in_fours", "seconds_of_answers_without_graphs"):
        print(f"{key[11:]:34} {found[key] / found['seconds_of_answers']:8.2f} times as long as the engine's answers")


def profile(work: Callable[[], object]) -> None:
    """Print which kernels take the time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize()
    kernels: list[Any] = sorted(profiler.key_averages(), key=lambda event: -event.self_device_time_total)
    total = sum(event.self_device_time_total for event in kernels)
    print(f"kernels of answers of 24 tokens, {total / 1e6:.2f} s in all:")
    for event in kernels[:14]:
        print(f"  {event.self_device_time_total / total:6.1%} {event.count:7} times  {event.key[:110]}")
    sys.stdout.flush()


def timed(work: Callable[[], object], times: int) -> float:
    """Return the median seconds after a warm-up."""
    work()
    seconds = []
    for _ in range(times):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def show(found: dict[str, Any], key: str, *, floor: float | None = None, share: str | None = None) -> None:
    """Print one line of the table."""
    line = f"{key[11:].strip():34} {found[key]:8.4f} s"
    if floor is not None and share is not None:
        found[share] = floor / found[key]
        line += f"   floor {floor:.4f} s, {found[share]:.0%} of it reached"
    print(line, flush=True)


def save(folder: Path, dtype: torch.dtype | None = None, /, **shape: Any) -> Path:
    """Save a Llama of random weights, by default a large one in bf16 and a small one in fp32."""
    torch.manual_seed(0)
    config = LlamaConfig(**{"max_position_embeddings": 4096, "bos_token_id": None, "eos_token_id": 0, **shape})
    config.tie_word_embeddings = False
    large = config.hidden_size >= 4096
    with torch.device(GPU):
        dtype = dtype or (torch.bfloat16 if large else torch.float32)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                # small models have well-separated logits, so that rounding decides no token
                parameter.normal_(std=0.02 if large else 0.1)
    model.save_pretrained(folder)
    tokenizer(config.vocab_size).save_pretrained(folder)
    del model
    torch.cuda.empty_cache()
    return folder


def tokenizer(size: int) -> PreTrainedTokenizerFast:
    """Build a tokenizer with one token per byte, and unused ones."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = ["<|end|>", *letters, *(f"w{number}" for number in range(size - len(letters) - 1))]
    raw = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(known)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>", pad_token="<|end|>")


def prompts(count: int, length: int) -> list[str]:
    """Return prompts of random letters, without long common prefixes."""
    torch.manual_seed(length)
    letters = torch.randint(97, 123, (count, length))
    return ["".join(map(chr, row)) for row in letters.tolist()]


def lines() -> Lines:
    """Return one random line."""
    return Lines(axes=(RandomAxis(seed=0, span=0.5, steps=2),))


if __name__ == "__main__":
    main()
