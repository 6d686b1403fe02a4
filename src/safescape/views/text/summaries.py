"""The Markdown of a repair, a study and a benchmark, from the contents of their JSON files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safescape.landscape import Metric
from safescape.views.text import words
from safescape.views.text.tables import Table


def card_of(repair: Mapping[str, Any]) -> str:
    """Return the README.md of a repaired model from the contents of repair.json."""
    rows = [
        (
            label,
            f"{at['complied']} of {at['n']}",
            f"{at['low']:.1f} to {at['high']:.1f} %",
            "" if at["loss"] is None else f"{at['loss']:.4g}",
        )
        for label, at in (("the finetune", repair["tuned_at"]), ("this model", repair["saved"]))
    ]
    loss = words.named(repair["loss"]) if repair["loss"] else "loss"
    measured = Table(("", "harmful requests answered", "95 % interval", loss), tuple(rows))
    coords = repair["saved"]["coords"]
    shares = ", ".join(f"{alpha:.4g}" for alpha in coords)
    where = ("at" if len(coords) == 1 else "with its blocks of layers at") + f" {shares} of the way from the base to"
    return f"""---
tags: [safescape]
---

# A finetune brought back into safety

This model stands {where} the finetune. It is the point nearest to the finetune that was found to be safe.

- base: {words.named(repair["base"])}
- finetune: {words.named(repair["tuned"])}

{measured.markdown}

Measured with {words.named(repair["prompts"])}, answers of up to {repair["max_new_tokens"]} tokens, decoded greedily and
judged by keywords. Safe means that the interval ends at or below {repair["max_asr"]:g} %. A model that refuses these
requests may answer others: measure it with your own.
"""


def study_text(study: Mapping[str, Any]) -> str:
    """Return study.md from the contents of study.json."""
    before = study["before"]
    rows = [("as it is", _of_json(before["asr"]), "", "", "")]
    for arm in study["arms"]:
        figures = (f"{arm['steps']}", f"{arm['losses'][-1]:.3f}", _of_json(arm["edge"], 2))
        rows.append((arm["name"], _of_json(arm["asr"]), *figures))
    table = Table(("finetuned on", "ASR, % (95 %)", "steps", "last loss", "safe as far as α ="), tuple(rows))
    return f"""# How many harmful examples break {words.named(study["model"])}

VISAGE before: {_of_json(before["visage"])}; basin radius {_of_json(before["radius"], 3)}.

{table.markdown}

ASR on {before["asr"]["n"]} requests of {words.named(study["prompts"])}, none of which was taught. α runs from the model
(0) to each finetune (1).
"""


def _of_json(metric: Mapping[str, Any], decimals: int = 1) -> str:
    found = Metric(**{key: value for key, value in metric.items() if key != "n"})
    return "not measured" if found.value is None else words.cell(found, decimals)


def speed_table(bench: Mapping[str, Any]) -> Table:
    """Return one row per side from the contents of bench.json; shares are of the machine's own matrix product rate."""
    rows = (
        (
            side["side"],
            f"{side['seconds']:.1f}",
            "" if side["ratio"] is None else f"{side['ratio']:.1f}",
            f"{side['peak_bytes'] / 1e9:.2f}",
            f"{side['move']:.2f}",
            *(
                "" if share is None else f"{100 * share:.0f} %"
                for share in (side["share_at_origin"], side["share_outside"])
            ),
            "" if side["agreeing"] is None else f"{side['agreeing']} of {side['verdicts']}",
        )
        for side in bench["sides"]
    )
    columns = ("side", "s", "times as fast", "peak GB", "s a move", "share at 0", "share outside", "verdicts alike")
    return Table(columns, tuple(rows))


def speed_text(bench: Mapping[str, Any]) -> str:
    """Return bench.md: what was measured and on which machine, then the table."""
    task = bench["task"]
    asked = f"{len(task['alphas'])} points x {task['limit']} prompts x {task['max_new_tokens']} tokens"
    return f"{asked}; {bench['machine']}\n\n{speed_table(bench).markdown}\n"
