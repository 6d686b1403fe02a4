"""python benchmarks/profiling.py [--engine vllm] [--dtype float32] [--alpha 0.2] [--prompts advbench]

Profile the answers of one point on a CPU with torch's profiler: the share of each kind of operation, the rest, which is
Python, and the floor from the machine's peak rate of matrix products. 80 answers of at most 64 tokens.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import torch
from torch.profiler import ProfilerActivity, profile

from safescape.engines import TokenCounts, TransformersEngine, VllmEngine
from safescape.judges import KeywordJudge
from safescape.machine import matmul_rate
from safescape.probes import format_chats, load_prompts, load_tokenizer
from safescape.speed import matrix_sizes, prefill_tokens
from safescape.survey import Lines, Point, RandomAxis
from safescape.weights import Subspace, resolve

KINDS = {
    "products of weights": ("linear_pointwise", "mkldnn", "addmm", "aten::mm", "aten::linear", "aten::matmul",
                            "onednn"),
    "attention": ("scaled_dot_product", "flash_attention", "aten::bmm", "softmax",
                  "_C::cpu_attention", "unified_attention"),
    "keys and values": ("index_copy", "aten::index", "aten::cat", "scatter", "gather", "index_put", "index_select",
                        "reshape_and_cache"),
    "dtypes and copies": ("aten::copy_", "aten::_to_copy", "aten::to", "aten::clone", "aten::contiguous"),
    "norms, rotations, gates, sums": ("aten::mul", "aten::add", "aten::rsqrt", "aten::pow", "aten::mean", "aten::silu",
                                      "aten::neg", "aten::sub", "aten::rms", "_C::rms",
                                      "_C::rotary", "_C::silu", "_C::fused_add"),
    "the next token": ("aten::argmax", "aten::max", "aten::eq", "aten::isin"),
}  # fmt: skip


def kind_of(operation: str) -> str:
    """Return the kind of a torch operation."""
    return next(
        (kind for kind, parts in KINDS.items() if any(part in operation for part in parts)), "everything else in torch"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--prompts", default="builtin:harmful")
    parser.add_argument("--limit", type=int, default=80)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--engine", choices=("transformers", "vllm"), default="transformers")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--alpha", type=float, default=0.0)
    given = parser.parse_args()
    dtype = getattr(torch, given.dtype)
    rate, model = matmul_rate(dtype, torch.device("cpu")), resolve(given.model)
    tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
    chats = format_chats(tokenizer, load_prompts(given.prompts, given.limit), None)
    line = Lines(axes=(RandomAxis(seed=0, span=0.5, steps=20),))
    space = Subspace(line, model.weights)
    engine: TransformersEngine | VllmEngine
    if given.engine == "vllm":
        longest = max(map(len, tokenizer(chats)["input_ids"])) + given.max_new_tokens
        counts = TokenCounts(longest, longest, longest * len(chats))
        engine = VllmEngine(model, tokenizer, space, dtype=dtype, counts=counts)
    else:
        engine = TransformersEngine(model, tokenizer, space, dtype=dtype)
    engine.move_to(Point(0, (given.alpha,)) if given.alpha else Point(None, (0.0,)))

    def answer() -> tuple[float, int]:
        start = time.perf_counter()
        responses = engine.respond(chats, max_new_tokens=given.max_new_tokens, stop=KeywordJudge.stop)
        return time.perf_counter() - start, sum(response.tokens for response in responses)

    answer()
    seconds, written = min(answer() for _ in range(3))
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        watched, _ = answer()
    spent: Counter[str] = Counter()
    for event in profiler.key_averages():
        spent[kind_of(event.key)] += event.self_cpu_time_total / 1e6
    floor = matrix_sizes(model.weights).operations(prefill_tokens(tokenizer, chats), written) / rate
    print(f"{given.engine}, {given.dtype}, α = {given.alpha:g}: {written} tokens in {seconds:.2f} s, "
          f"{watched:.2f} s while watched; floor {floor:.2f} s, {floor / seconds:.0%}")  # fmt: skip
    print("\n| | s | of the time |\n|---|---|---|")
    for kind, took in spent.most_common():
        print(f"| {kind} | {took:.2f} | {took / watched:.0%} |")
    rest = watched - sum(spent.values())
    print(f"| Python, and the profiler itself | {rest:.2f} | {rest / watched:.0%} |")


if __name__ == "__main__":
    main()
