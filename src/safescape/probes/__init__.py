"""Prompt sets, public data sets, system prompts, chat formatting and capability tasks. Knows no weights."""

from safescape.probes.also import capability_probe, further_probes, load_questions
from safescape.probes.chat import (
    SYSTEM_PROMPTS,
    check_variables,
    format_chats,
    omitted_system_prompt,
    render_chat,
    system_prompt,
    template_variables,
    variables_of,
)
from safescape.probes.columns import check_columns, is_filled, listed, sound, text_of, value_under
from safescape.probes.labels import LabelFile, read_labels
from safescape.probes.lm_eval import Answering, harness_scores
from safescape.probes.margin import Scored, margin_of, margin_probe
from safescape.probes.markers import OFF, given_markers, markers_of, switched_off, thinking_of, without_thought
from safescape.probes.prompts import PromptSet, load_prompts, load_set
from safescape.probes.public_sets import Named, PublicSet, catalogue, did_you_mean, parse_name, set_named
from safescape.probes.rows import Row, Table, csv_table, hub_rows, is_file, json_lines, read_rows, read_text
from safescape.probes.set_files import Located, fetch, locate, set_paths
from safescape.probes.tokenizers import choose_template, has_tokenizer, load_tokenizer, open_tokenizer

__all__ = [
    "OFF",
    "SYSTEM_PROMPTS",
    "Answering",
    "LabelFile",
    "Located",
    "Named",
    "PromptSet",
    "PublicSet",
    "Row",
    "Scored",
    "Table",
    "capability_probe",
    "catalogue",
    "check_columns",
    "check_variables",
    "choose_template",
    "csv_table",
    "did_you_mean",
    "fetch",
    "format_chats",
    "further_probes",
    "given_markers",
    "harness_scores",
    "has_tokenizer",
    "hub_rows",
    "is_file",
    "is_filled",
    "json_lines",
    "listed",
    "load_prompts",
    "load_questions",
    "load_set",
    "load_tokenizer",
    "locate",
    "margin_of",
    "margin_probe",
    "markers_of",
    "omitted_system_prompt",
    "open_tokenizer",
    "parse_name",
    "read_labels",
    "read_rows",
    "read_text",
    "render_chat",
    "set_named",
    "set_paths",
    "sound",
    "switched_off",
    "system_prompt",
    "template_variables",
    "text_of",
    "thinking_of",
    "value_under",
    "variables_of",
    "without_thought",
]
