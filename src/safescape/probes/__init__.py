"""Prompt sets, public data sets, system prompts, chat formatting and capability tasks. Knows no weights."""

from safescape.probes.also import capability_probe, further_probes, load_questions
from safescape.probes.chat import SYSTEM_PROMPTS, format_chats, load_tokenizer, render_chat, system_prompt
from safescape.probes.lm_eval import Answering, harness_scores
from safescape.probes.prompts import load_prompts
from safescape.probes.public_sets import Named, PublicSet, catalogue, did_you_mean, parse_name, set_named
from safescape.probes.rows import csv_table, is_file, json_lines, read_text
from safescape.probes.set_files import Located, fetch, locate, set_paths

__all__ = [
    "SYSTEM_PROMPTS",
    "Answering",
    "Located",
    "Named",
    "PublicSet",
    "capability_probe",
    "catalogue",
    "csv_table",
    "did_you_mean",
    "fetch",
    "format_chats",
    "further_probes",
    "harness_scores",
    "is_file",
    "json_lines",
    "load_prompts",
    "load_questions",
    "load_tokenizer",
    "locate",
    "parse_name",
    "read_text",
    "render_chat",
    "set_named",
    "set_paths",
    "system_prompt",
]
