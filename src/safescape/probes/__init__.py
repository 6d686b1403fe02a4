"""What is asked: prompt sets, system prompts, chat formatting, capability tasks. Knows no weights."""

from safescape.probes.also import further_probes
from safescape.probes.chat import SYSTEM_PROMPTS, format_chats, load_tokenizer, system_prompt
from safescape.probes.lm_eval import Answering, harness_scores
from safescape.probes.multiple_choice import load_questions
from safescape.probes.prompts import load_prompts

__all__ = [
    "SYSTEM_PROMPTS",
    "Answering",
    "format_chats",
    "further_probes",
    "harness_scores",
    "load_prompts",
    "load_questions",
    "load_tokenizer",
    "system_prompt",
]
