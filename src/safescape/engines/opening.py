"""The engine that a survey asks for."""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerBase

from safescape.engines.transformers import TransformersEngine
from safescape.survey import Survey
from safescape.weights import Model, Subspace

__all__ = ["open_engine"]


def open_engine(survey: Survey, model: Model, tokenizer: PreTrainedTokenizerBase) -> TransformersEngine:
    """Load a survey's model into its engine, at the origin.

    Args:
        survey: What is measured.
        model: The model it names, found on this disk.
        tokenizer: The model's.

    Raises:
        InputError: the model cannot be used.

    """
    subspace = Subspace(survey.subspace, model.weights, survey.through, torch.device(survey.device).type)
    return TransformersEngine(
        model,
        tokenizer,
        subspace,
        dtype=getattr(torch, survey.dtype),
        device=survey.device,
        batch_size=survey.batch_size,
        trust_remote_code=survey.trust_remote_code,
    )
