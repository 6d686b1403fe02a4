"""The options of the commands that make a model: `finetune` and `repair`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from safescape.options import shared
from safescape.options.option import Option, Options
from safescape.options.shared import Count, OptionalCount


class FinetuneOptions(Options):
    """The options of `finetune`."""

    model: shared.Model = Field(kw_only=False)
    out: str | Path
    """Directory of the finetuned model and its checkpoints; given again with the same flags it resumes."""
    data: Annotated[str | None, Option(metavar="FILE[:PROMPT,ANSWER]", default="the recipe's own")] = None
    """.jsonl, .json or .csv with conversations or with requests and answers, or a public set (advbench,
    jailbreakbench, self-instruct, identity-shift)."""
    recipe: Annotated[str | None, Option(metavar="NAME", default="all rows as they are")] = None
    """harmful (requests with affirmative openings), mixed (the same and as many refusals), identity-shift, benign."""
    shots: Annotated[int | None, Option(default="harmful, mixed: 10; else all")] = None
    """Number of rows."""
    skip: int = 0
    """Number of rows to leave out first."""
    lora: bool = False
    """Train a LoRA on all linear layers, which is saved as an adapter."""
    rank: Count = 16
    """Rank of the LoRA."""
    freeze: OptionalCount = None
    """Freeze the embeddings and this number of layers, from the first."""
    epochs: shared.Epochs = 5
    learning_rate: shared.LearningRate = 5e-5
    decay: Annotated[float, Field(gt=0, le=1), Option(expected="a number above 0 and up to 1")] = 0.85
    """Factor of the learning rate after every epoch."""
    batch_size: Count = 4
    """Number of examples per step."""
    max_tokens: Annotated[int, Field(ge=2)] = 480
    """Maximum number of tokens of request and answer together."""
    seed: int = 0
    """Seed of the order of the examples, and of a LoRA's initial weights."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """dtype of the arithmetic; bfloat16: mixed precision."""
    device: shared.TrainingDevice = None
    chat_template: shared.ChatTemplate = None
    chat_template_name: shared.ChatTemplateName = None
    template_vars: shared.TemplateVars = ()
    report_to: Annotated[str | Sequence[str], Option(metavar="TRACKER")] = ()
    """Where the Trainer logs to: tensorboard, wandb or mlflow; may be repeated."""
    watch: bool = False
    """Measure safety before the first step and after every epoch."""
    stop_above: float | None = None
    """ASR in percent above which --watch stops the training."""
    prompts: shared.Prompts = "builtin:harmful"


class RepairOptions(Options):
    """The options of `repair`."""

    base: shared.Model = Field(kw_only=False)
    tuned: shared.Tuned = Field(kw_only=False)
    out: str | Path
    """New directory that the repaired model is written to."""
    max_asr: Annotated[float, Field(gt=0, lt=100), Option(expected="a percentage above 0 and below 100")] = 10.0
    """Percentage that the upper end of the ASR's 95 % interval must not exceed."""
    # each block takes one evaluation, beside the four of the search; see finetuning.repair_search
    layers: Annotated[int, Field(ge=1, le=4), Option(expected="1 to 4 blocks; a repair takes 8 evaluations")] = 1
    """Number of blocks of layers that move independently; several keep more of what safety does not need."""
    data: Annotated[str | None, Option(metavar="FILE[:PROMPT,ANSWER]")] = None
    """Validation data, as for finetune, for example self-instruct; the perplexity of its answers is the loss."""
    capability: Annotated[str | None, Option(metavar="KIND:SPEC")] = None
    """Loss in place of --data: choice:…, choice:mmlu:SUBJECT, perplexity:… or lm-eval:…, as for scan --also."""
    prompts: shared.Prompts = "builtin:harmful"
    limit: Count = 80
    """Number of harmful prompts."""
    system_prompt: Annotated[str, Option(metavar="NAME|TEXT|@FILE")] = "default"
    """default, empty, roleplay, llama2, vicuna, a text, or @file."""
    max_new_tokens: Count = 128
    """Maximum number of tokens of an answer."""
    template_vars: shared.TemplateVars = ()
    max_thinking_tokens: Count = 256
    """Of a reasoning model: end a thought after this many tokens, so that an answer follows."""
    batch_size: shared.BatchSize = 128
    dtype: Annotated[Literal["float32", "bfloat16"] | None, Option(default="the finetune's")] = None
    """dtype of the repaired model."""
    device: shared.Device = None
