"""python benchmarks/memory.py --prompts advbench [--dtype float32]

Print the resident and the peak memory after each stage of a scan's first point.
"""

from __future__ import annotations

import argparse
import resource

import psutil
import torch

from safescape.engines import TransformersEngine
from safescape.judges import KeywordJudge
from safescape.probes import format_chats, load_prompts, load_tokenizer
from safescape.survey import Lines, Point, RandomAxis
from safescape.weights import Subspace, resolve


def main() -> None:
    """Print one line per stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--prompts", default="builtin:harmful")
    parser.add_argument("--limit", type=int, default=80)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    given = parser.parse_args()
    stage("libraries")
    model = resolve(given.model)
    tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
    chats = format_chats(tokenizer, load_prompts(given.prompts, given.limit), None)
    stage("tokenizer and prompts")
    line = Lines(axes=(RandomAxis(seed=0, span=0.5, steps=20),))
    engine = TransformersEngine(model, tokenizer, Subspace(line, model.weights), dtype=getattr(torch, given.dtype))
    stage("live model at the origin")
    engine.move_to(Point(0, (0.2,)))
    stage("moved, direction cached")
    engine.respond(chats, max_new_tokens=given.max_new_tokens, stop=KeywordJudge.stop)
    stage("answered")


def stage(name: str) -> None:
    """Print the resident and the peak memory in GB."""
    now = psutil.Process().memory_info().rss
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{name:25} {now / 1e9:5.2f} GB resident, {most / 1e9:5.2f} at most", flush=True)


if __name__ == "__main__":
    main()
