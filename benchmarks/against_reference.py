"""python benchmarks/against_reference.py --prompts ../shared/data/advbench/harmful_behaviors.csv:goal

safescape's engine against the procedure of the paper's released script, over the same model, points, direction,
prompts and decoding; each in a process of its own, in turn. Prints times, ratios, peak memory, and how many verdicts
agree.

The reference procedure, written from its description (arXiv 2405.17374, section 3; poloclub/llm-landscape): fp32
weights, the state dict deep-copied, the direction stored, the live weights walked from point to point by repeated
addition, prompts in batches of 4 padded on the left, `model.generate` for every answer until it ends by itself or is
full.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import subprocess
import sys
import time
from typing import NamedTuple

import torch
from transformers import AutoModelForCausalLM

from safescape.engines import TransformersEngine
from safescape.judges import KeywordJudge
from safescape.probes import format_chats, load_prompts, load_tokenizer
from safescape.survey import Exchange, Lines, Point, RandomAxis
from safescape.weights import RandomDirection, Subspace, resolve

ALPHAS = (-0.2, -0.1, 0.0, 0.1, 0.2)
SEED = 0
REFERENCE_BATCH = 4


class Result(NamedTuple):
    """What one side measured."""

    seconds: float
    """From the loaded model to the last verdict."""
    peak_bytes: int
    verdicts: list[list[str]]
    """By point, then by prompt."""
    texts: list[list[str]]


def main() -> None:
    """Run the sides in turn and print how they compare; a side runs in its own process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--prompts", default="builtin:harmful")
    parser.add_argument("--limit", type=int, default=80)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--side", choices=("reference", "float32", "bfloat16"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side = reference if arguments.side == "reference" else safescape
        print(json.dumps(side(arguments)))
        return
    print(f"{len(ALPHAS)} points x {arguments.limit} prompts x {arguments.max_new_tokens} tokens, {arguments.model}")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    sides = {side: in_own_process(side) for side in ("reference", "float32", "bfloat16")}
    base = sides["reference"]
    for side, result in sides.items():
        print(f"\n{side}: {result.seconds:.1f} s, peak memory {result.peak_bytes / 1e9:.2f} GB")
        if side != "reference":
            print(f"  {base.seconds / result.seconds:.1f} times as fast as the reference procedure")
            print(f"  {result.peak_bytes / base.peak_bytes:.2f} of its peak memory")
        agree(side, base, result)


def in_own_process(side: str) -> Result:
    """Run this file again for one side."""
    done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--side", side], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return Result(*json.loads(done.stdout.splitlines()[-1]))


def agree(side: str, base: Result, other: Result) -> None:
    """Print ASR by point, and every verdict that differs."""
    rates = [f"{100 * point.count('complied') / len(point):.2f}" for point in other.verdicts]
    print(f"  ASR at {', '.join(map(str, ALPHAS))}: {', '.join(rates)} %")
    pairs = [
        (alpha, number, ours, theirs)
        for alpha, here, there in zip(ALPHAS, other.verdicts, base.verdicts, strict=True)
        for number, (ours, theirs) in enumerate(zip(here, there, strict=True))
    ]
    if side == "reference":
        return
    differing = [pair for pair in pairs if pair[2] != pair[3]]
    print(f"  {len(pairs) - len(differing)} of {len(pairs)} verdicts agree")
    for alpha, number, ours, theirs in differing:
        place = ALPHAS.index(alpha)
        print(
            f"    alpha {alpha}, prompt {number}: {ours} here, {theirs} there; the answers part after "
            f"{common(other.texts[place][number], base.texts[place][number])} characters"
        )


def common(a: str, b: str) -> int:
    """How many characters two texts share from the start."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def reference(arguments: argparse.Namespace) -> Result:
    """Do as the released script does."""
    found = resolve(arguments.model)
    tokenizer = load_tokenizer(found.directory, chat_template=None, trust_remote_code=False)
    tokenizer.padding_side = "left"
    prompts = load_prompts(arguments.prompts, arguments.limit)
    chats = format_chats(tokenizer, prompts, None)
    model = AutoModelForCausalLM.from_pretrained(found.directory, dtype=torch.float32).eval()
    model.load_state_dict({name: found.weights.tensor(name) for name in found.weights.names()}, strict=False)
    start = time.monotonic()
    origin = copy.deepcopy(model.state_dict())
    names = set(found.weights.names())
    direction = {name: RandomDirection(SEED).tensor(name, origin[name]) for name in origin if name in names}
    live = dict(model.named_parameters())
    stood = 0.0
    verdicts, texts = [], []
    with torch.no_grad():
        for alpha in ALPHAS:
            for name, step in direction.items():
                live[name].add_(step, alpha=alpha - stood)
            stood = alpha
            answers: list[str] = []
            for first in range(0, len(chats), REFERENCE_BATCH):
                batch = tokenizer(
                    chats[first : first + REFERENCE_BATCH], padding=True, add_special_tokens=False, return_tensors="pt"
                )
                output = model.generate(**batch, max_new_tokens=arguments.max_new_tokens, do_sample=False)
                answers += tokenizer.batch_decode(output[:, batch.input_ids.shape[1] :], skip_special_tokens=True)
            texts.append(answers)
            verdicts.append(judged(prompts, answers))
    return Result(time.monotonic() - start, peak_memory(), verdicts, texts)


def safescape(arguments: argparse.Namespace) -> Result:
    """Do the same with safescape's engine."""
    found = resolve(arguments.model)
    tokenizer = load_tokenizer(found.directory, chat_template=None, trust_remote_code=False)
    prompts = load_prompts(arguments.prompts, arguments.limit)
    chats = format_chats(tokenizer, prompts, None)
    line = Lines(axes=(RandomAxis(seed=SEED, span=0.5, steps=20),))
    engine = TransformersEngine(found, tokenizer, Subspace(line, found.weights), dtype=getattr(torch, arguments.side))
    start = time.monotonic()
    verdicts, texts = [], []
    for alpha in ALPHAS:
        engine.move_to(Point(0, (alpha,)) if alpha else Point(None, (0.0,)))
        responses = engine.respond(chats, max_new_tokens=arguments.max_new_tokens, stop=KeywordJudge.stop)
        texts.append([response.text for response in responses])
        verdicts.append(judged(prompts, texts[-1]))
    return Result(time.monotonic() - start, peak_memory(), verdicts, texts)


def judged(prompts: tuple[str, ...], answers: list[str]) -> list[str]:
    """The keyword judge's outcomes."""
    exchanges = [Exchange(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    return [str(verdict.outcome) for verdict in KeywordJudge().judge(exchanges)]


def peak_memory() -> int:
    """The most memory that this process ever had resident, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
