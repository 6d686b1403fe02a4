"""Surveys of synthetic runs, with their subspaces, checkpoints and probes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from safescape.survey import (
    Adaptive,
    Axis,
    Chats,
    ChoiceProbe,
    InterpolationAxis,
    Lines,
    MarginProbe,
    Markers,
    PerplexityProbe,
    Plane,
    Probe,
    PromptProbe,
    Question,
    RandomAxis,
    Survey,
    Waypoint,
)

FINGERPRINT = "sha256:" + "ab" * 32
TWO_JUDGES = ("keyword", "refusal")
PANEL = "majority(keyword,refusal)"
THINK = Markers(starts=("<think>",), ends=("</think>",))


def random_plane(steps: int = 20) -> Plane:
    return Plane(axes=(RandomAxis(seed=0, span=0.5, steps=steps), RandomAxis(seed=1, span=0.5, steps=steps)))


def between(steps: int = 8, *, toward: str = "example/Tuned-7B", low: float = -0.25, high: float = 1.25) -> Axis:
    return InterpolationAxis(toward=toward, fingerprint="sha256:" + "cd" * 32, steps=steps, low=low, high=high)


def path_line(steps: int = 8, **axis: Any) -> Lines:
    return Lines(axes=(between(steps, **axis),))


def path_plane(steps: int = 8) -> Plane:
    return Plane(axes=(between(steps), RandomAxis(seed=0, span=0.5, steps=steps)))


def one_of_each_kind(steps: int = 2, *, toward: str) -> dict[str, Lines | Plane | None]:
    """Return a subspace of every kind by name, None for the default lines; `toward` is the model of the path."""
    return {
        "lines": None,
        "path": path_line(steps, toward=toward),
        "plane": random_plane(steps),
        "path plane": path_plane(steps),
    }


def trajectory(count: int) -> tuple[Waypoint, ...]:
    return tuple(Waypoint(model=f"checkpoint-{n}", fingerprint=f"sha256:{n:064x}") for n in range(1, count + 1))


def further(*names: str, items: int = 40) -> tuple[Probe, ...]:
    """Return probes by name: benign, accuracy, perplexity, margin; any other name is a probe of harmful prompts."""
    asked = tuple(f"{{}} {n}" for n in range(items))
    made: dict[str, Probe] = {
        "benign": PromptProbe(
            name="benign",
            source="builtin:benign",
            harmful=False,
            prompts=tuple(text.format("Harmless request") for text in asked),
        ),
        "accuracy": ChoiceProbe(
            name="accuracy",
            source="test.csv",
            questions=tuple(Question(context=text, options=(" A", " B"), answer=0) for text in asked),
        ),
        "perplexity": PerplexityProbe(name="perplexity", source="texts.csv:text", texts=asked),
        "margin": MarginProbe(
            name="margin", source="requests.csv", prompts=asked, refusing=("I cannot",), complying=("Sure", "Here is")
        ),
    }
    # what the first probe of `make_survey` asks, so that as many prompts are paired with its own
    goals = tuple(f"Harmful request number {n}" for n in range(items))
    attack = {"prompts": tuple(text.format("Attacked request") for text in asked), "goals": goals}
    return tuple(
        made[name] if name in made else PromptProbe.model_validate({"name": name, "source": f"{name}.csv", **attack})
        for name in names
    )


def at_models(*names: str, items: int = 40) -> tuple[Probe, ...]:
    """Return the same probes, asked only at the models."""
    return tuple(probe.model_copy(update={"only_at": "models"}) for probe in further(*names, items=items))


def make_survey(
    *,
    model: str = "example/Model-7B-chat",
    lines: int = 3,
    steps: int = 20,
    prompts: Sequence[str] | int = 80,
    dtype: str = "float32",
    system_prompt: str | None = None,
    subspace: Lines | Plane | None = None,
    through: Sequence[Waypoint] = (),
    also: Sequence[Probe] = (),
    judges: Sequence[str] = ("keyword",),
    adaptive: Adaptive | None = None,
    markers: Markers | None = None,
) -> Survey:
    given = [f"Harmful request number {n}" for n in range(prompts)] if isinstance(prompts, int) else prompts
    chats = None if markers is None else Chats.of(given, [f"<|user|>{text}<|assistant|>" for text in given])
    return Survey.model_validate(
        {
            "model": model,
            "model_fingerprint": FINGERPRINT,
            "judges": tuple(judges),
            "dtype": dtype,
            "subspace": subspace or Lines(axes=tuple(RandomAxis(seed=n, span=0.5, steps=steps) for n in range(lines))),
            "through": tuple(through),
            "adaptive": adaptive,
            "markers": markers,
            "calibration": chats,
            "probes": [
                PromptProbe(
                    name="harmful",
                    source="builtin:harmful",
                    system_prompt=system_prompt,
                    prompts=tuple(given),
                    chats=chats,
                ),
                *also,
            ],
        }
    )
