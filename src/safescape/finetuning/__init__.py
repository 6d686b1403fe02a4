"""Finetuning: attack a model with a finetune, monitor the training, and repair a finetune.

Importing the room loads no training library; `training` and `monitor` do.
"""

from safescape.finetuning.conversations import RECIPES, Conversation, conversations_of, digest
from safescape.finetuning.directory import Finetune, Finetuned, Step
from safescape.finetuning.repair_search import MAX_EVALUATIONS, Evaluation, Search, search

__all__ = [
    "MAX_EVALUATIONS",
    "RECIPES",
    "Conversation",
    "Evaluation",
    "Finetune",
    "Finetuned",
    "Search",
    "Step",
    "conversations_of",
    "digest",
    "search",
]
