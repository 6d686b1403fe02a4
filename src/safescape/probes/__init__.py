"""What is asked: prompt sets, system prompts, chat formatting. Knows no weights."""

from safescape.probes.chat import SYSTEM_PROMPTS, format_chats, load_tokenizer, system_prompt
from safescape.probes.prompts import load_prompts

__all__ = ["SYSTEM_PROMPTS", "format_chats", "load_prompts", "load_tokenizer", "system_prompt"]
