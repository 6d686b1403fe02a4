"""Attack a model with a finetune, watch it, gate it, repair it. What trains is loaded when it is needed."""

from safescape.finetuning.conversations import RECIPES, Conversation, Message, conversations_of, digest
from safescape.finetuning.search import MOST, Evaluation, Search, search
from safescape.finetuning.specification import Finetune, Finetuned, Step

__all__ = [
    "MOST",
    "RECIPES",
    "Conversation",
    "Evaluation",
    "Finetune",
    "Finetuned",
    "Message",
    "Search",
    "Step",
    "conversations_of",
    "digest",
    "search",
]
