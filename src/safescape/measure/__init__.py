"""Measure a survey: at every open point move the weights, ask the probes, judge and store."""

from __future__ import annotations

from safescape.measure.chats import paper_choice, tokenizer_of_model, with_chats, with_chats_as_written
from safescape.measure.directions import with_directions
from safescape.measure.evidence import shipped_requests
from safescape.measure.inspection import inspection_of
from safescape.measure.live_dtype import DtypeChoice, Gpu, choose_dtype, gpu_of
from safescape.measure.loop import Progress, collect_stored_evidence, measure
from safescape.measure.session import ask, check_prompts, find_model, margins, score

__all__ = [
    "DtypeChoice",
    "Gpu",
    "Progress",
    "ask",
    "check_prompts",
    "choose_dtype",
    "collect_stored_evidence",
    "find_model",
    "gpu_of",
    "inspection_of",
    "margins",
    "measure",
    "paper_choice",
    "score",
    "shipped_requests",
    "tokenizer_of_model",
    "with_chats",
    "with_chats_as_written",
    "with_directions",
]
