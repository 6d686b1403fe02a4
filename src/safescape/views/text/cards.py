"""Markdown of repairs, studies and benchmarks: their tables, and the model card of a repaired model."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from safescape.views.text.words import printable

SPEED_COLUMNS = ("side", "s", "times as fast", "peak GB", "s a move", "share at 0", "share outside", "verdicts alike")

_MARKUP = {ord(sign): f"&#{ord(sign)};" for sign in string.punctuation if sign not in "-/"}


def named(name: str) -> str:
    """Return an untrusted name as Markdown that shows it unchanged."""
    return f"<code>{printable(name).translate(_MARKUP)}</code>"


def markdown_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; all columns but the first are aligned to the right."""
    lines = (columns, ("---", *("---:" for _ in columns[1:])), *rows)
    return [f"| {' | '.join(line)} |" for line in lines]


def card_of(repair: Mapping[str, Any]) -> str:
    """Return the README.md of a repaired model from the contents of repair.json."""
    rows = []
    for label, at in (("the finetune", repair["tuned_at"]), ("this model", repair["saved"])):
        loss = "" if at["loss"] is None else f"{at['loss']:.4g}"
        rows.append(f"| {label} | {at['complied']} of {at['n']} | {at['low']:.1f} to {at['high']:.1f} % | {loss} |")
    coords = repair["saved"]["coords"]
    shares = ", ".join(f"{alpha:.4g}" for alpha in coords)
    where = ("at" if len(coords) == 1 else "with its blocks of layers at") + f" {shares} of the way from the base to"
    return f"""---
tags: [safescape]
---

# A finetune brought back into safety

This model stands {where} the finetune. It is the point nearest to the finetune that was found to be safe.

| | |
|---|---|
| base | {named(repair["base"])} |
| finetune | {named(repair["tuned"])} |

| | harmful requests answered | 95 % interval | {named(repair["loss"]) if repair["loss"] else "loss"} |
|---|---|---|---|
{chr(10).join(rows)}

Measured with {named(repair["prompts"])}, answers of up to {repair["max_new_tokens"]} tokens, decoded greedily and
judged by keywords. Safe means that the interval ends at or below {repair["max_asr"]:g} %. A model that refuses these
requests may answer others: measure it with your own.
"""


def study_table(study: Mapping[str, Any]) -> str:
    """Return study.md from the contents of study.json."""
    before = study["before"]
    rows = [
        ("as it is", before["asr"], "", "", ""),
        *(
            (arm["name"], arm["asr"], f"{arm['steps']}", f"{arm['losses'][-1]:.3f}", _metric(arm["edge"], 2))
            for arm in study["arms"]
        ),
    ]
    return f"""# How many harmful examples break {named(study["model"])}

VISAGE before: {_metric(before["visage"])}; basin radius {_metric(before["radius"], 3)}.

| finetuned on | ASR, % (95 %) | steps | last loss | safe as far as α = |
|---|---|---|---|---|
{chr(10).join(f"| {' | '.join((name, _with_interval(asr), *others))} |" for name, asr, *others in rows)}

ASR on {before["asr"]["n"]} requests of {named(study["prompts"])}, none of which was taught. α runs from the model
(0) to each finetune (1).
"""


def speed_rows(bench: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return one row per side from the contents of bench.json; shares are of the machine's own matrix product rate."""
    return [
        (
            side["side"],
            f"{side['seconds']:.1f}",
            "" if side["ratio"] is None else f"{side['ratio']:.1f}",
            f"{side['peak_bytes'] / 1e9:.2f}",
            f"{side['move']:.2f}",
            f"{100 * side['share_at_origin']:.0f} %",
            f"{100 * side['share_outside']:.0f} %",
            "" if side["agreeing"] is None else f"{side['agreeing']} of {side['verdicts']}",
        )
        for side in bench["sides"]
    ]


def speed_table(bench: Mapping[str, Any]) -> str:
    """Return bench.md: what was measured and on which machine, then the table."""
    task = bench["task"]
    asked = f"{len(task['alphas'])} points x {task['limit']} prompts x {task['max_new_tokens']} tokens"
    lines = (" | ".join(SPEED_COLUMNS), "|".join("---" for _ in SPEED_COLUMNS), *map(" | ".join, speed_rows(bench)))
    return f"{asked}; {bench['machine']}\n\n" + "\n".join(f"| {line} |" for line in lines) + "\n"


def _metric(metric: Mapping[str, Any], decimals: int = 1) -> str:
    if metric["value"] is None:
        return "not measured"
    return ("at least " if metric["at_least"] else "") + _with_interval(metric, decimals)


def _with_interval(metric: Mapping[str, Any], decimals: int = 1) -> str:
    return f"{metric['value']:.{decimals}f} ({metric['low']:.{decimals}f} to {metric['high']:.{decimals}f})"
