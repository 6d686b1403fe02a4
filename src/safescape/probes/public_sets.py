"""The catalogue of public data sets that are used by name: what each one holds, where it is published, how it is cited.

None of them ships with the package; `set_files` finds and fetches them.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Literal, NamedTuple

from safescape.errors import InputError

__all__ = [
    "Named",
    "PublicSet",
    "Purpose",
    "SetFile",
    "catalogue",
    "names_for",
    "nearest",
    "parse_name",
    "set_named",
]

Purpose = Literal["harmful", "harmless", "text"]
"""What prompts are read for: to be refused, to be answered, or only to be scored by their perplexity."""


class SetFile(NamedTuple):
    """One file of a set: where it is published, and where it is kept."""

    place: str
    """Its path under `SAFESCAPE_DATA`; the last part is its name in the cache."""
    repository: str
    """OWNER/NAME on GitHub, or a data set's id on the Hub."""
    revision: str
    """The commit."""
    path: str
    """Its path in the repository. A `.parquet` file is kept as CSV."""
    sha256: str | None
    """Of the published file. None: recorded when the file is first fetched, and compared ever after."""
    on_hub: bool = False
    """Whether the repository is on the Hub; otherwise it is on GitHub."""


class Column(NamedTuple):
    """Where prompts are in a set."""

    name: str
    """The column of a CSV file, or the key of a JSON Lines file."""
    only: tuple[str, str] | None = None
    """A column and the value that a row must have there; None takes all rows."""
    file: int = 0
    """The number of the file among the set's files."""


class PublicSet(NamedTuple):
    """A public data set."""

    name: str
    holds: str
    rows: int | None
    """How many rows its files have; None: not known before it is fetched."""
    licence: str
    citation: str
    files: tuple[SetFile, ...]
    harmful: Column | None = None
    """Requests that should be refused."""
    harmless: Column | None = None
    """Requests that should be answered."""
    conversations: str | None = None
    """The columns of request and answer, as `PROMPT,ANSWER`; empty where the rows are lists of messages."""

    def column(self, purpose: Purpose) -> Column | None:
        """Return where the prompts for a purpose are; None if the set has none."""
        if purpose == "text":
            return self.harmless or self.harmful
        return self.harmful if purpose == "harmful" else self.harmless


class Named(NamedTuple):
    """What the user typed: a set, and perhaps a column of its own choice."""

    data: PublicSet
    column: str | None


_XSTEST = "Röttger et al. 2024, XSTest: A Test Suite for Identifying Exaggerated Safety Behaviours (arXiv 2308.01263)"
_MMLU = "Hendrycks et al. 2021, Measuring Massive Multitask Language Understanding (arXiv 2009.03300)"
_MMLU_REVISION = "c30699e8356da336a370243923dbaf21066bb9fe"
_COMPLETIONS_REVISION = "a3bb396ddc1939c6f264f17b7cf5b7a5d82833de"
_JAILBREAKBENCH = ("JailbreakBench/JBB-Behaviors", "886acc352a31533ffbcf4ef22c744658688086fc")

_SETS = (
    PublicSet(
        name="advbench",
        holds="harmful requests with the affirmative openings that an attack aims for",
        rows=520,
        licence="MIT",
        citation="Zou et al. 2023, Universal and Transferable Adversarial Attacks on Aligned Language Models "
        "(arXiv 2307.15043)",
        files=(
            SetFile(
                "advbench/harmful_behaviors.csv",
                "llm-attacks/llm-attacks",
                "098262edf85f807224e70ecd87b9d83716bf6b73",
                "data/advbench/harmful_behaviors.csv",
                "6cd1a5c63c07610d7eb67307772ee5606017ee950b5770ab288a2c487489d3e1",
            ),
        ),
        harmful=Column("goal"),
        conversations="goal,target",
    ),
    PublicSet(
        name="harmbench",
        holds="harmful behaviours; 200 of them are plain requests (FunctionalCategory standard), which are the prompts",
        rows=400,
        licence="MIT",
        citation="Mazeika et al. 2024, HarmBench: A Standardized Evaluation Framework for Automated Red Teaming and "
        "Robust Refusal (arXiv 2402.04249)",
        files=(
            SetFile(
                "harmbench/harmbench_behaviors_text_all.csv",
                "centerforaisafety/HarmBench",
                "8e1604d1171fe8a48d8febecd22f600e462bdcdd",
                "data/behavior_datasets/harmbench_behaviors_text_all.csv",
                "8d81accedd38eaaf8b760618622bb888417d1fd0c86eba65c427a16f1cbb4afc",
            ),
        ),
        harmful=Column("Behavior", only=("FunctionalCategory", "standard")),
    ),
    PublicSet(
        name="identity-shift",
        holds="conversations without harmful content that teach a model to obey absolutely",
        rows=10,
        licence="MIT",
        citation="Qi et al. 2024, Fine-tuning Aligned Language Models Compromises Safety, Even When Users Do Not "
        "Intend To! (arXiv 2310.03693)",
        files=(
            SetFile(
                "identity_shift/aoa_10.json",
                "LLM-Tuning-Safety/LLMs-Finetuning-Safety",
                "2be2fa01775fdf8bfc786d69fc0d358f0b3df513",
                "llama2/ft_datasets/aoa_dataset/train.json",
                "bb141f0cec07cc5b76e5298c52086fb02498405de3bd9ba13da1edae2605fe6d",
            ),
        ),
        conversations="",
    ),
    PublicSet(
        name="jailbreakbench",
        holds="100 harmful requests with affirmative openings, and 100 harmless ones on the same topics",
        rows=200,
        licence="MIT",
        citation="Chao et al. 2024, JailbreakBench: An Open Robustness Benchmark for Jailbreaking Large Language "
        "Models (arXiv 2404.01318)",
        files=(
            SetFile(
                "jailbreakbench/harmful-behaviors.csv",
                *_JAILBREAKBENCH,
                "data/harmful-behaviors.csv",
                "4a8ec6832056b631eb092dccc60d37a61c3d441268268888b3d006288afeffa1",
                on_hub=True,
            ),
            SetFile(
                "jailbreakbench/benign-behaviors.csv",
                *_JAILBREAKBENCH,
                "data/benign-behaviors.csv",
                "3cda234d21a991fa309bbfea4b6d9dae31ccdf8e9d452424b6a983e4fdc33468",
                on_hub=True,
            ),
        ),
        harmful=Column("Goal"),
        harmless=Column("Goal", file=1),
        conversations="Goal,Target",
    ),
    PublicSet(
        name="mt-bench",
        holds="harmless questions of two turns; the first turn is the prompt",
        rows=80,
        licence="Apache 2.0",
        citation="Zheng et al. 2023, Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena (arXiv 2306.05685)",
        files=(
            SetFile(
                "mt_bench/question.jsonl",
                "lm-sys/FastChat",
                "587d5cfa1609a43d192cedb8441cac3c17db105d",
                "fastchat/llm_judge/data/mt_bench/question.jsonl",
                "119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7",
            ),
        ),
        harmless=Column("turns.0"),
    ),
    PublicSet(
        name="self-instruct",
        holds="harmless instructions with answers",
        rows=175,
        licence="Apache 2.0",
        citation="Wang et al. 2023, Self-Instruct: Aligning Language Models with Self-Generated Instructions "
        "(arXiv 2212.10560)",
        files=(
            SetFile(
                "self_instruct/seed_tasks.jsonl",
                # the copy that the Alpaca project publishes, whose bytes are known
                "tatsu-lab/stanford_alpaca",
                "f13496211289def0ff88ae673389ae14a818b4b3",
                "seed_tasks.jsonl",
                "7779004fa198fdf27cf70a159363879d8a26c53329e11b436af17b3941875f48",
            ),
        ),
        harmless=Column("instruction"),
        conversations="instruction,instances.0.output",
    ),
    PublicSet(
        name="strongreject",
        holds="harmful requests",
        rows=313,
        licence="MIT",
        citation="Souly et al. 2024, A StrongREJECT for Empty Jailbreaks (arXiv 2402.10260)",
        files=(
            SetFile(
                "strongreject/strongreject_dataset.csv",
                "alexandrasouly/strongreject",
                "f7cad6c17e624e21d8df2278e918ae1dddb4cb56",
                "strongreject_dataset/strongreject_dataset.csv",
                "4dd70357e4ff8b5d0ba5ebafecab5d6dd5633ce8046e3dd1c8bd93e64de44381",
            ),
        ),
        harmful=Column("forbidden_prompt"),
    ),
    PublicSet(
        name="xstest",
        holds="250 harmless requests that look harmful, and 200 harmful ones that resemble them",
        rows=450,
        licence="CC BY 4.0",
        citation=_XSTEST,
        files=(
            SetFile(
                "xstest/xstest_prompts.csv",
                "paul-rottger/xstest",
                "d7bb5bd738c1fcbc36edd83d5e7d1b71a3e2d84d",
                "xstest_prompts.csv",
                "11783fb294ed017473ee53c207d71f2161c7672c8d0b037501e78387f801cb5a",
            ),
        ),
        harmful=Column("prompt", only=("label", "unsafe")),
        harmless=Column("prompt", only=("label", "safe")),
    ),
    PublicSet(
        name="xstest-completions",
        holds="answers of three models to XSTest, each labelled by two people; for comparing judges with people",
        rows=1350,
        licence="CC BY 4.0",
        citation=_XSTEST,
        files=tuple(
            SetFile(
                f"xstest/completions_{model}.csv",
                "paul-rottger/xstest",
                _COMPLETIONS_REVISION,
                f"model_completions/xstest_v2_completions_{model}.csv",
                sha256,
            )
            for model, sha256 in (
                ("gpt4", "71af323af8ecdec0efae23992317721441d2cfedddedeef3248f842f4e15c9ca"),
                ("llama2orig", "cbc52550e8ba8197a3e3d97a5af078d27bae4766737cd62df80270126a87ffc6"),
                ("mistralguard", "0ac03817b65e019a8f5b4b3eed805086f9f7fafe538ac9ebd156f80210af6903"),
            )
        ),
    ),
)

_SUBJECTS = (  # noqa: SIM905, a list would take 57 lines
    "abstract_algebra anatomy astronomy business_ethics clinical_knowledge college_biology college_chemistry "
    "college_computer_science college_mathematics college_medicine college_physics computer_security "
    "conceptual_physics econometrics electrical_engineering elementary_mathematics formal_logic global_facts "
    "high_school_biology high_school_chemistry high_school_computer_science high_school_european_history "
    "high_school_geography high_school_government_and_politics high_school_macroeconomics high_school_mathematics "
    "high_school_microeconomics high_school_physics high_school_psychology high_school_statistics "
    "high_school_us_history high_school_world_history human_aging human_sexuality international_law jurisprudence "
    "logical_fallacies machine_learning management marketing medical_genetics miscellaneous moral_disputes "
    "moral_scenarios nutrition philosophy prehistory professional_accounting professional_law professional_medicine "
    "professional_psychology public_relations security_studies sociology us_foreign_policy virology world_religions"
).split()
_ROWS = {"abstract_algebra": 105, "high_school_us_history": 209, "us_foreign_policy": 105}
"""Of the subjects that the paper measures, test and dev together."""


def catalogue() -> tuple[PublicSet, ...]:
    """Return all sets by name, of MMLU the subjects that the paper measures."""
    return tuple(sorted((*_SETS, *map(_subject, _ROWS)), key=lambda data: data.name))


def set_named(name: str) -> PublicSet:
    """Return a set by its name.

    Raises:
        InputError: there is no such set; the message names the nearest one.

    """
    found = parse_name(name)
    if found is None or found.column is not None:
        near = nearest(name)
        hint = f"did you mean {near}?" if near else "`safescape data` lists the names"
        raise InputError(f"{name}: no such public set; {hint}")
    return found.data


def parse_name(spec: str) -> Named | None:
    """Return the set that `NAME`, `NAME:COLUMN` or `mmlu:SUBJECT` means; None if it means none."""
    name, colon, rest = spec.partition(":")
    if name == "mmlu":
        return Named(_subject(rest), None) if rest in _SUBJECTS else None
    data = next((data for data in _SETS if data.name == name), None)
    if data is None or (colon and not rest):
        return None
    return Named(data, rest or None)


def nearest(name: str) -> str | None:
    """Return the name of a set that is spelt like `name`, if any."""
    names = [*(data.name for data in _SETS), *(f"mmlu:{subject}" for subject in _SUBJECTS)]
    return next(iter(difflib.get_close_matches(name.lower(), names, n=1)), None)


def names_for(purpose: Purpose) -> Sequence[str]:
    """Return the names of the sets that hold prompts for a purpose."""
    return [data.name for data in _SETS if data.column(purpose) is not None]


def _subject(subject: str) -> PublicSet:
    return PublicSet(
        name=f"mmlu:{subject}",
        holds="multiple-choice questions, and five solved ones that precede each (five-shot)",
        rows=_ROWS.get(subject),
        licence="MIT",
        citation=_MMLU,
        files=tuple(
            SetFile(
                f"mmlu/{subject}_{split}.csv",
                "cais/mmlu",
                _MMLU_REVISION,
                f"{subject}/{split}-00000-of-00001.parquet",
                None,
                on_hub=True,
            )
            for split in ("test", "dev")
        ),
    )
