"""Attacks as JailbreakBench publishes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path


def artifact(directory: Path, prompts: Sequence[str | None], name: str = "attack.json") -> str:
    """Write an artifact and return its path; None is an attack that found no prompt."""
    entries = [{"index": n, "goal": f"goal {n}", "prompt": text} for n, text in enumerate(prompts)]
    path = directory / name
    path.write_text(json.dumps({"parameters": {}, "jailbreaks": entries}), encoding="utf-8")
    return str(path)
