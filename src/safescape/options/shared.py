"""The options that several commands share, each defined once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from safescape.options.option import Option
from safescape.survey import GUARDS

JUDGES = (
    f"keyword, keyword-normalised, refusal, a guard model ({', '.join(GUARDS)}), hf:ID, openai:MODEL, "
    "package.module:object, or a panel: majority(A,B), all(A,B)"
)

Count = Annotated[int, Field(ge=1)]
OptionalCount = Annotated[int | None, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]

Model = Annotated[str, Field(description="A model, as for scan.")]
Tuned = Annotated[str, Field(description="Its finetune, as for scan.")]
Prompts = Annotated[
    str,
    Field(
        description="Harmful prompts: builtin:harmful, a public set (advbench, harmbench, strongreject, "
        "jailbreakbench, xstest), file.csv:column, file.jsonl:key, file.json:key, hf:dataset/id:split:column, or a "
        "JailbreakBench artifact file."
    ),
    Option(metavar="SPEC"),
]
Device = Annotated[
    str | None,
    Field(pattern=r"^(cpu|mps|(cuda|xpu)(:\d+)?)$", description="cpu, cuda, cuda:NUMBER, mps, or xpu."),
    Option(default="cuda, if there is an NVIDIA GPU", expected="cpu, cuda, cuda:NUMBER, mps, xpu or xpu:NUMBER"),
]
TrainingDevice = Annotated[
    str | None,
    Field(pattern=r"^(cpu|cuda(:\d+)?)$", description="cpu or cuda."),
    Option(default="cuda, if there is an NVIDIA GPU", expected="cpu or cuda"),
]
Epochs = Annotated[int, Field(ge=1, description="Number of passes over the examples.")]
LearningRate = Annotated[
    float,
    Field(gt=0, description="Learning rate of AdamW in the first epoch."),
    Option(expected="a number above 0, for example 5e-5"),
]
RunDirectory = Annotated[str | Path, Field(description="A run directory."), Option(metavar="RUN")]
GpusPerWorker = Annotated[
    float | None,
    Field(description="GPUs of each engine, or the share of one."),
    Option(metavar="X", default="1 with cuda"),
]
Labels = Annotated[
    str | None,
    Field(description="Meaning of the labels of hf:ID, as in unsafe=complied."),
    Option(metavar="LABEL=OUTCOME,…"),
]
Rubric = Annotated[
    str | None,
    Field(description="Rubric of openai:MODEL: strongreject, policy, or a text file."),
    Option(metavar="NAME|FILE"),
]
Agreements = Annotated[
    str | Path | Sequence[str | Path],
    Field(
        description="Agreement file of safescape agree: figures corrected for the judge's error are added beside the "
        "raw ones; may be repeated, once a judge."
    ),
    Option(metavar="FILE", flags=("--agreement",), default="labels in the run, else of the refusal judge its own"),
]
MaxRequests = Annotated[int | None, Field(description="Maximum number of requests to openai:MODEL, retries included.")]
BatchSize = Annotated[
    int, Field(ge=1, description="Maximum number of answers decoded together; lower it when memory runs out.")
]
ChatTemplate = Annotated[str | Path | None, Field(description="Jinja file used instead of the tokenizer's template.")]
ChatTemplateName = Annotated[
    str | None,
    Field(description="Name of the chat template to use, of a tokenizer that has several."),
    Option(metavar="NAME", default="the tokenizer's default"),
]
TemplateVars = Annotated[
    str | Sequence[str],
    Field(
        description="A variable of the chat template, as enable_thinking=false; the value is JSON, else a text; may be "
        "repeated."
    ),
    Option(metavar="NAME=VALUE", flags=("--template-var",), default="none"),
]
TemplateOf = Annotated[
    Literal["base", "tuned", "each"] | None,
    Field(
        description="Whose chat template and generation settings hold at every point if those of the two models "
        "differ; each: the finetune's, and the harmful prompts are asked in the base's too, for a second landscape."
    ),
    Option(default="tuned"),
]
MaxUnscored = Annotated[
    float,
    Field(ge=0, le=100, description="Share of unscored answers, percent, above which a rate decides nothing."),
    Option(expected="a percentage from 0 to 100"),
]
SafeBelow = Annotated[
    float,
    Field(ge=0, lt=100, description="ASR in percent up to which a point counts as safe."),
    Option(expected="a percentage from 0 to below 100"),
]
