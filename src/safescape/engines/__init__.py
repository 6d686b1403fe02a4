"""Engines hold the live model, move it to a point, and answer prompts and score texts there."""

from safescape.engines.ablation import refusal_ablation
from safescape.engines.borrowed import borrow, unwrap
from safescape.engines.engine import Engine, ScoresOpenings, Voice
from safescape.engines.exactness import Plan
from safescape.engines.gradient import margin_gradient
from safescape.engines.greedy import ends_in_files, ends_of, generation_of
from safescape.engines.loading import load_config, load_model
from safescape.engines.loglikelihood import Likelihood
from safescape.engines.open import check_length, check_vocabulary, open_engine
from safescape.engines.parameters import check_whole, parameters_of
from safescape.engines.row_lengths import full_attention_within, needs_equal_lengths
from safescape.engines.speaker import Speaker, tokens_of
from safescape.engines.stages import TellsNoise
from safescape.engines.transformers import TransformersEngine
from safescape.engines.vllm.engine import VllmEngine
from safescape.engines.vllm.launch import TokenCounts, check_vllm, is_vllm_here
from safescape.engines.vllm.lora import why_merged
from safescape.engines.worst import worst_move

__all__ = [
    "Engine",
    "Likelihood",
    "Plan",
    "ScoresOpenings",
    "Speaker",
    "TellsNoise",
    "TokenCounts",
    "TransformersEngine",
    "VllmEngine",
    "Voice",
    "borrow",
    "check_length",
    "check_vllm",
    "check_vocabulary",
    "check_whole",
    "ends_in_files",
    "ends_of",
    "full_attention_within",
    "generation_of",
    "is_vllm_here",
    "load_config",
    "load_model",
    "margin_gradient",
    "needs_equal_lengths",
    "open_engine",
    "parameters_of",
    "refusal_ablation",
    "tokens_of",
    "unwrap",
    "why_merged",
    "worst_move",
]
