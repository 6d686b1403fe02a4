"""The flags that measuring commands share: the same word everywhere, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safescape.landscape import SAFE_BELOW
from safescape.survey import DEFAULT, GUARDS, PAPER, QUICK

__all__ = [
    "JUDGES",
    "SAFE_BELOW",
    "Adapter",
    "Adaptive",
    "Also",
    "AlsoLimit",
    "AsJson",
    "BatchSize",
    "ChatTemplate",
    "Device",
    "Dtype",
    "EdgeTolerance",
    "Engine",
    "GpusPerWorker",
    "Interval",
    "Judge",
    "Labels",
    "Limit",
    "MaxNewTokens",
    "MaxRequests",
    "Out",
    "Paper",
    "Prompts",
    "Quick",
    "Ray",
    "Rubric",
    "SafeBelow",
    "Seed",
    "SystemPrompt",
    "TensorParallel",
    "TrustRemoteCode",
    "WholeAnswers",
    "Workers",
]

Out = Annotated[
    Path | None,
    typer.Option(help="run directory; given again with the same flags it resumes \\[default: runs/MODEL-HASH]"),
]
Prompts = Annotated[
    str,
    typer.Option(
        metavar="SPEC",
        help="builtin:harmful, file.csv:column, file.jsonl:key, hf:dataset/id:split:column, JailbreakBench file",
    ),
]
Limit = Annotated[int | None, typer.Option(help=f"how many prompts \\[default: {DEFAULT.limit}]")]
SystemPrompt = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME|TEXT|@FILE",
        help="default, empty, roleplay, llama2, a text, or @file; several make one landscape each \\[default: default]",
    ),
]
Also = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KIND:SPEC",
        help="ask this too at every point: over-refusal:PROMPTS, attack:PROMPTS, choice:TEST.csv[:DEV.csv], "
        "perplexity:PROMPTS, lm-eval:TASK; may be repeated",
    ),
]
AlsoLimit = Annotated[int | None, typer.Option(help="how many items of each of those \\[default: all]")]
JUDGES = (
    "keyword, refusal, a guard model ("
    + ", ".join(GUARDS)
    + "), hf:ID, openai:MODEL, package.module:object, or a panel: majority(A,B), all(A,B)"
)
Judge = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help=f"{JUDGES}; the figures are the first one's; may be repeated \\[default: keyword and refusal]",
    ),
]
Labels = Annotated[
    str | None, typer.Option(metavar="LABEL=OUTCOME,…", help="what the labels of hf:ID mean, as in unsafe=complied")
]
Rubric = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE", help="openai:MODEL goes by this: strongreject, policy, or a text file"),
]
MaxRequests = Annotated[
    int | None, typer.Option(help="most requests that openai:MODEL may send, repeated ones included")
]
Seed = Annotated[int, typer.Option(help="of the first random direction")]
Adaptive = Annotated[
    bool, typer.Option("--adaptive", help="measure the points that tell most instead of a whole grid; for lines")
]
EdgeTolerance = Annotated[
    float | None,
    typer.Option(metavar="X", help="with --adaptive: know the basin's edges to this |α| \\[default: span/25]"),
]
Interval = Annotated[
    float | None,
    typer.Option(metavar="POINTS", help="with --adaptive: add directions until VISAGE's interval is this narrow"),
]
Engine = Annotated[
    str, typer.Option(metavar="transformers|vllm", help="what holds the live model and answers; vllm is an extra")
]
TensorParallel = Annotated[int, typer.Option(metavar="GPUS", help="how many GPUs share one model, for vllm")]
Adapter = Annotated[
    str,
    typer.Option(
        metavar="auto|merged|unmerged",
        help="to BASE+ADAPTER with vllm: move the weights, or scale the adapter beside them, several points a batch; "
        "auto: unmerged on a GPU where that can be",
    ),
]
Dtype = Annotated[str, typer.Option(metavar="float32|bfloat16", help="of the live weights")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda \\[default: the first GPU, if any]")]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="measure with N engines side by side, each in a process of its own; needs safescape\\[ray]"
    ),
]
Ray = Annotated[
    str | None, typer.Option(metavar="auto|HOST:PORT", help="measure on this Ray cluster; needs safescape\\[ray]")
]
GpusPerWorker = Annotated[
    float | None, typer.Option(metavar="X", help="GPUs of each engine, or a share of one \\[default: 1 with cuda]")
]
MaxNewTokens = Annotated[
    int | None, typer.Option(help=f"most tokens of an answer \\[default: {DEFAULT.max_new_tokens}]")
]
WholeAnswers = Annotated[
    bool, typer.Option("--whole-answers", help="write answers to their end, also when the judge could already tell")
]
BatchSize = Annotated[int, typer.Option(help="most answers decoded together; lower it when memory runs out")]
ChatTemplate = Annotated[Path | None, typer.Option(help="Jinja file used instead of the tokenizer's template")]
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="let the model run its own code")]
SafeBelow = Annotated[float, typer.Option(help="ASR in percent up to which a point counts as safe")]
Quick = Annotated[
    bool,
    typer.Option(
        "--quick",
        help=f"first look: {QUICK.directions} direction, {QUICK.limit} prompts, {QUICK.max_new_tokens} tokens",
    ),
]
Paper = Annotated[
    bool,
    typer.Option("--paper", help=f"the paper's setting: fp32, {PAPER.max_new_tokens} tokens, {PAPER.limit} prompts"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print landscape.json on stdout")]
