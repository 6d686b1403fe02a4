"""python benchmarks/scaling.py --out DIR [--only points|prompts|tokens|size]

Measure how the cost grows with the number of points, prompts and tokens per answer, and with the size of the model
(random Llamas of 10 million to a billion parameters); for workers see benchmarks/workers.py. Prints one table per
curve, writes scaling.json and draws scaling.png from it. `--only` measures one curve again and keeps the others in
scaling.json.

`floor` is the time at the machine's peak rate of matrix products for the same tokens (2 operations per weight and
token, for the output head only for generated tokens); `share` is the floor divided by the time to answer.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from safescape.api.report import report_of
from safescape.engines import TransformersEngine
from safescape.machine import matmul_rate, peak_bytes
from safescape.measure import measure
from safescape.probes import format_chats, load_tokenizer
from safescape.speed import matrix_sizes, prefill_tokens
from safescape.store import Store
from safescape.survey import Lines, Point, PromptProbe, RandomAxis, Survey
from safescape.weights import Model, Subspace, inspect, resolve

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from helpers import tiny_models

Row = dict[str, Any]
CPU = torch.device("cpu")
TINY = {"num_hidden_layers": 1}
SMOL = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 2048,
}
"""The shape of SmolLM2-135M."""


def llama(width: int, between: int, layers: int, heads: int, groups: int) -> dict[str, int | bool]:
    """The shape of a Llama whose output head is a matrix of its own."""
    return {
        "vocab_size": 8192,
        "hidden_size": width,
        "intermediate_size": between,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
    }


SIZES = {
    "10M": llama(256, 768, 8, 4, 2),
    "30M": llama(512, 1408, 8, 8, 4),
    "100M": llama(768, 2048, 14, 12, 4),
    "300M": llama(1024, 2816, 24, 16, 8),
    "1B": llama(2048, 5632, 21, 32, 8),
}
POINTS = (10, 100, 1_000, 10_000)
PROMPTS = (10, 20, 40, 80, 160, 320, 640)
TOKENS = (8, 16, 32, 64, 128, 256, 512)


def by_points(folder: Path) -> list[Row]:
    """Measure runs of a tiny model on one line, through the loop, the store and the views."""
    there = str(apart(save, folder / "tiny", TINY))
    return [shown("points", apart(run, there, points)) for points in POINTS]


def run(there: str, points: int, prompts: int = 10, tokens: int = 2) -> Row:
    """Measure a run and the time of every point."""
    model = resolve(there)
    survey = Survey(
        model=there,
        model_fingerprint=inspect(model.weights),
        subspace=Lines(axes=(RandomAxis(seed=0, span=0.5, steps=points),)),
        probes=(PromptProbe(name="harmful", source="benchmark", prompts=requests(prompts)),),
        max_new_tokens=tokens,
    )
    done: list[float] = []
    with tempfile.TemporaryDirectory() as directory, Store.claim(Path(directory), survey) as store:
        measure(survey, model, store, lambda at: done.append(time.monotonic()) if at.scored is None else None)
        weighed, peak = time.monotonic(), peak_bytes(CPU)
        report_of(store, 10.0, 5.0)
        reported, stored = time.monotonic(), sum(path.stat().st_size for path in Path(directory).glob("run.sqlite*"))
    # the first was reported before the engine was loaded, the second is the origin's
    each = [later - sooner for sooner, later in itertools.pairwise(done[1:])]
    tenth = max(5, len(each) // 10)
    return {
        "points": points,
        "milliseconds": 1e3 * (done[-1] - done[1]) / len(each),
        "first": 1e3 * statistics.median(each[:tenth]),
        "last": 1e3 * statistics.median(each[-tenth:]),
        "weighing": 1e3 * (weighed - done[-1]) / points,
        "files": 1e3 * (reported - weighed) / points,
        "stored": stored / points,
        "peak": peak,
        "peak_with_files": peak_bytes(CPU),
    }


def by_prompts(folder: Path) -> list[Row]:
    """Measure one point of a model of 135 million parameters over the number of prompts, 16 tokens each."""
    return asked(folder, "prompts", [(prompts, 16) for prompts in PROMPTS])


def by_tokens(folder: Path) -> list[Row]:
    """Measure the same with 16 prompts over the number of tokens."""
    return asked(folder, "tokens", [(16, tokens) for tokens in TOKENS])


def asked(folder: Path, curve: str, cells: Sequence[tuple[int, int]]) -> list[Row]:
    """Measure one engine away from its origin."""
    there = str(apart(save, folder / "smol", SMOL))
    return [shown(curve, row) for row in apart(answered, there, cells)]


def answered(there: str, cells: Sequence[tuple[int, int]]) -> list[Row]:
    """Time a number of prompts with a number of tokens each."""
    standing = Standing.of(there, "float32")
    standing.engine.move_to(Point(0, (0.05,)))
    standing.answer(2, 2)
    return [standing.answer(prompts, tokens) for prompts, tokens in cells]


def by_size(folder: Path) -> list[Row]:
    """Measure a move and 8 answers of 16 tokens for models of several sizes, each in a separate process."""
    rows = []
    for name, shape in SIZES.items():
        there = str(apart(save, folder / name, shape))
        rows += [shown("size", {"name": name, **apart(moved, there, dtype)}) for dtype in ("float32", "bfloat16")]
    return rows


def moved(there: str, dtype: str) -> Row:
    """Time moves and answers; the first move along a direction generates it."""
    standing = Standing.of(there, dtype)

    def move(alpha: float) -> float:
        start = time.perf_counter()
        standing.engine.move_to(Point(0, (alpha,)))
        return time.perf_counter() - start

    first = move(0.05)
    again = statistics.median(move(alpha) for alpha in (0.1, -0.1, 0.05))
    row = standing.answer(8, 16)
    weights = standing.model.weights
    parameters = sum(weights.tensor(name).numel() for name in weights.names())
    live = parameters * getattr(torch, dtype).itemsize
    return {
        **row,
        "dtype": dtype,
        "parameters": parameters,
        "first_move": first,
        "move": again,
        "live": live,
        "target": live + 4 * parameters + 1e9,
        "peak": peak_bytes(CPU),
    }


class Standing(NamedTuple):
    """An engine with the floor of its speed."""

    model: Model
    engine: TransformersEngine
    rate: float

    @classmethod
    def of(cls, there: str, dtype: str) -> Standing:
        """Load a model, at its origin."""
        rate, model = matmul_rate(getattr(torch, dtype), CPU), resolve(there)
        line = Lines(axes=(RandomAxis(seed=0, span=0.5, steps=2),))
        tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
        space = Subspace(line, model.weights)
        return cls(model, TransformersEngine(model, tokenizer, space, dtype=getattr(torch, dtype)), rate)

    def answer(self, prompts: int, tokens: int) -> Row:
        """Answer a number of prompts; no answer is settled early."""
        tokenizer = load_tokenizer(self.model.directory, chat_template=None, trust_remote_code=False)
        chats = format_chats(tokenizer, requests(prompts), None)
        start = time.perf_counter()
        given = self.engine.respond(chats, max_new_tokens=tokens, stop=())
        seconds = time.perf_counter() - start
        written = sum(response.tokens for response in given)
        floor = matrix_sizes(self.model.weights).operations(prefill_tokens(tokenizer, chats), written) / self.rate
        return {
            "prompts": prompts,
            "tokens": tokens,
            "written": written,
            "seconds": seconds,
            "floor": floor,
            "share": floor / seconds,
            "rate": self.rate,
        }


def requests(count: int) -> tuple[str, ...]:
    """Return prompts of 32 tokens, one per letter, whose only common prefix is the chat template's."""
    return tuple(f"{number:03d}: write about this number"[-32:].ljust(32, ".") for number in range(count))


def save(folder: Path, shape: Mapping[str, Any]) -> Path:
    """Save a random Llama in bf16, one tensor at a time; an existing one is kept."""
    if folder.exists():
        return folder
    config = tiny_models.llama_config(**shape)
    with torch.device("meta"):
        tensors = dict(AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).named_parameters())
    torch.manual_seed(0)
    made = {
        name: torch.empty(tensor.shape, dtype=torch.bfloat16).normal_(std=0.02) if tensor.dim() > 1
        else torch.ones(tensor.shape, dtype=torch.bfloat16)
        for name, tensor in tensors.items()
    }  # fmt: skip
    folder.mkdir()
    save_file(made, folder / "model.safetensors", metadata={"format": "pt"})
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    tiny_models.tokenizer().save_pretrained(folder)
    return folder


def apart(work: Callable[..., Any], *given: Any) -> Any:
    """Run a function in a fresh process, so that its peak memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(work, *given).result()


def megabytes(count: float) -> str:
    """Format a number of bytes."""
    return f"{count / 1e6:,.0f}"


COLUMNS: dict[str, dict[str, Callable[[Row], str]]] = {
    "points": {
        "points": lambda row: f"{row['points']:,}",
        "ms per point": lambda row: f"{row['milliseconds']:.2f}",
        "the first tenth": lambda row: f"{row['first']:.2f}",
        "the last tenth": lambda row: f"{row['last']:.2f}",
        "ms per point to score": lambda row: f"{row['weighing']:.2f}",
        "ms per point to write the files": lambda row: f"{row['files']:.2f}",
        "kB stored per point": lambda row: f"{row['stored'] / 1e3:.1f}",
        "peak MB measuring": lambda row: megabytes(row["peak"]),
        "with the files": lambda row: megabytes(row["peak_with_files"]),
    },
    "prompts": {
        "prompts": lambda row: f"{row['prompts']}",
        "s": lambda row: f"{row['seconds']:.2f}",
        "ms per prompt": lambda row: f"{1e3 * row['seconds'] / row['prompts']:.0f}",
        "floor, s": lambda row: f"{row['floor']:.2f}",
        "share": lambda row: f"{row['share']:.0%}",
    },
    "tokens": {
        "tokens": lambda row: f"{row['tokens']}",
        "s": lambda row: f"{row['seconds']:.2f}",
        "ms per token of all 16 answers": lambda row: f"{1e3 * row['seconds'] / row['tokens']:.0f}",
        "floor, s": lambda row: f"{row['floor']:.2f}",
        "share": lambda row: f"{row['share']:.0%}",
    },
    "size": {
        "parameters": lambda row: f"{row['parameters'] / 1e6:,.0f} M",
        "dtype": lambda row: row["dtype"],
        "first move, s": lambda row: f"{row['first_move']:.3f}",
        "move, s": lambda row: f"{row['move']:.3f}",
        "8 answers, s": lambda row: f"{row['seconds']:.2f}",
        "share": lambda row: f"{row['share']:.0%}",
        "peak MB": lambda row: megabytes(row["peak"]),
        "in models": lambda row: f"{row['peak'] / row['live']:.1f}",
        "target MB": lambda row: megabytes(row["target"]),
        "of the target": lambda row: f"{row['peak'] / row['target']:.0%}",
    },
}
CURVES: dict[str, Callable[[Path], list[Row]]] = {
    "points": by_points,
    "prompts": by_prompts,
    "tokens": by_tokens,
    "size": by_size,
}


def shown(curve: str, row: Row) -> Row:
    """Print one line of a table."""
    print("| " + " | ".join(write(row) for write in COLUMNS[curve].values()) + " |", flush=True)
    return row


INK, SOFT, FAINT = "#1a1d21", "#5b6470", "#d9dde2"
LINES = (("#2a6f97", "o-"), ("#e07b39", "s--"), ("#5b6470", "^:"))
"""Distinct in hue, lightness, marker and dash."""


def draw(found: Mapping[str, Any]) -> Figure:
    """Draw one panel per curve; the size of the model has one for time and one for memory."""
    figure = Figure(figsize=(10.5, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    *panels, free = figure.subplots(2, 3).flat
    free.set_axis_off()
    for (curve, title, lines, labels), axes in zip(PANELS, panels, strict=True):
        axes.set_title(title, fontsize=9, loc="left", color=INK)
        axes.tick_params(labelsize=8, colors=SOFT)
        axes.grid(color=FAINT, linewidth=0.6)
        for edge in ("top", "right"):
            axes.spines[edge].set_visible(False)
        axes.set_xlabel(labels[0], fontsize=8, color=SOFT)
        axes.set_ylabel(labels[1], fontsize=8, color=SOFT)
        if curve not in found["curves"]:
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=SOFT)
            continue
        plot(axes, curve, found["curves"][curve], lines)
    figure.suptitle(f"What a measurement costs: {found['machine']}", fontsize=9, x=0.01, ha="left", color=INK)
    return figure


Line = tuple[str, Callable[[Row], float], Callable[[Row], bool]]


def plot(axes: Axes, curve: str, rows: Sequence[Row], lines: Sequence[Line]) -> None:
    """Draw columns of a table over its first column."""
    of_first = {"size": "parameters"}.get(curve, curve)
    for (name, value, holds), (colour, style) in zip(lines, LINES, strict=False):
        there = [row for row in rows if holds(row)]
        places, values = [row[of_first] for row in there], [value(row) for row in there]
        axes.plot(places, values, style, color=colour, label=name, linewidth=1.5, markersize=4.5)
    axes.set_xscale("log", base=2 if curve in ("prompts", "tokens") else 10)
    if curve in ("prompts", "tokens"):
        axes.set_xticks([row[of_first] for row in rows], [str(row[of_first]) for row in rows])
        for row in rows:
            axes.annotate(
                f"{row['share']:.0%}", (row[of_first], row["seconds"]), (0, 6), textcoords="offset points",
                fontsize=7, ha="center", color=INK,
            )  # fmt: skip
    if curve == "points":
        axes.set_ylim(0, 1.6 * max(value(row) for row in rows for _, value, _ in lines))
    elif lines[0][0] != "peak, float32":
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.25 * max(value(row) for row in rows for _, value, _ in lines))
    axes.legend(fontsize=7.5, frameon=False, loc="upper left")


def every(row: Row) -> bool:
    """Return a column of all rows."""
    return True


def of_dtype(dtype: str) -> Callable[[Row], bool]:
    """Return a column of the rows of one dtype."""
    return lambda row: row["dtype"] == dtype


PANELS: tuple[tuple[str, str, tuple[Line, ...], tuple[str, str]], ...] = (
    (
        "points",
        "Points",
        (
            ("move, ask, judge, store", lambda row: row["milliseconds"], every),
            ("the origin scores the answers", lambda row: row["weighing"], every),
        ),
        ("points of a run", "ms per point, a tiny model"),
    ),
    (
        "prompts",
        "Prompts, and the share of the floor",
        (("16 tokens each", lambda row: row["seconds"], every), ("floor", lambda row: row["floor"], every)),
        ("prompts at one point", "s, 135 M parameters, fp32"),
    ),
    (
        "tokens",
        "Tokens, and the share of the floor",
        (("16 prompts", lambda row: row["seconds"], every), ("floor", lambda row: row["floor"], every)),
        ("tokens of an answer", "s, 135 M parameters, fp32"),
    ),
    (
        "size",
        "A move",
        (
            ("float32", lambda row: row["move"], of_dtype("float32")),
            ("bfloat16", lambda row: row["move"], of_dtype("bfloat16")),
        ),
        ("parameters", "s a move"),
    ),
    (
        "size",
        "Peak memory",
        (
            ("peak, float32", lambda row: 100 * row["peak"] / row["target"], of_dtype("float32")),
            ("peak, bfloat16", lambda row: 100 * row["peak"] / row["target"], of_dtype("bfloat16")),
        ),
        ("parameters", "% of live model, direction and 1 GB"),
    ),
)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=CURVES)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "scaling.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"curves": {}}
    cores = len(os.sched_getaffinity(0))
    found["machine"] = f"{cores} cores, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"
    print(found["machine"])
    with tempfile.TemporaryDirectory() as folder:
        for curve, by in CURVES.items():
            if given.only not in (None, curve):
                continue
            start = time.monotonic()
            print(f"\n{(by.__doc__ or '').strip()}\n")
            print("| " + " | ".join(COLUMNS[curve]) + " |\n|" + "---|" * len(COLUMNS[curve]), flush=True)
            found["curves"][curve] = by(Path(folder))
            print(f"\n({time.monotonic() - start:.0f} s)", flush=True)
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            draw(found).savefig(given.out / "scaling.png", dpi=150)


if __name__ == "__main__":
    main()
