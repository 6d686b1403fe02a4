"""Points between a base and its LoRA finetune as adapters in vLLM: groups of points, and why an adapter is merged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import safescape
from helpers.surveys import make_survey, path_line
from helpers.tiny_models import llama_config, save_adapter, save_model
from safescape.api.survey import _adapter
from safescape.engines import open_engine, why_merged
from safescape.errors import InputError
from safescape.measure.dispatch import Failed
from safescape.measure.ray_workers import RayWorkers
from safescape.measure.session import Measurement, groups_of
from safescape.options import MeasureOptions, read
from safescape.placement.ray_cluster import Reservation
from safescape.probes import load_tokenizer
from safescape.survey import InterpolationAxis, Lines, Position, Survey
from safescape.weights import resolve

UNTIED = llama_config(tie_word_embeddings=False, attention_bias=True)


@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 12), st.data())
def test_points_are_answered_together_as_the_survey_says(
    batch: int, prompts: int, steps: int, data: st.DataObject
) -> None:
    """Groups do not depend on which points are still to be measured, and each point is in exactly one group."""
    survey = make_survey(prompts=prompts, subspace=path_line(steps, low=-0.5, high=1.5)).model_copy(
        update={"adapter": "unmerged", "batch_size": batch, "engine": "vllm"}
    )
    points = list(survey.points())
    every = groups_of(survey, points)
    assert [point for group in every for point in group] == points
    assert every[0] == (points[0],), "the origin has no adapter"
    assert max(map(len, every)) <= survey.points_together == min(8, -(-batch // prompts))
    some = data.draw(st.lists(st.sampled_from(points), unique=True))
    assert groups_of(survey, some) == [group for group in every if set(group) & set(some)]


def test_merged_surveys_keep_their_text() -> None:
    survey = make_survey(prompts=4, subspace=path_line(4, low=0.0, high=1.0))
    points = list(survey.points())[2:]
    assert groups_of(survey, points) == [(point,) for point in points]
    assert "adapter" not in survey.model_dump_json(), "an earlier run's survey.json, and the name of its directory"
    unmerged = survey.model_copy(update={"adapter": "unmerged"})
    assert Survey.model_validate_json(unmerged.model_dump_json()) == unmerged
    assert unmerged.differences(survey) == ["adapter: 'unmerged' here, None there"]


OTHERWISE = "otherwise than by a pair on a linear layer; vLLM applies no more"


class Models:
    """Tiny models, made on first use."""

    def __init__(self, directory: Path, base: Path) -> None:
        self._directory = directory
        self.base = str(base)
        self.made = 0

    def adapter(self, base: str | None = None, **settings: object) -> str:
        self.made += 1
        under = base or self.base
        return f"{under}+{save_adapter(Path(under), self._directory / f'adapter{self.made}', **settings)}"

    def other(self, seed: int = 1) -> str:
        return str(save_model(self._directory / f"other{seed}", UNTIED, seed=seed))

    def head(self) -> str:
        """Return an adapter of the head, without the copy of the head that PEFT saves beside it."""
        name = self.adapter(target_modules=["q_proj", "lm_head"])
        file = Path(name.rpartition("+")[2]) / "adapter_model.safetensors"
        save_file({key: value for key, value in load_file(file).items() if "base_layer" not in key}, file)
        return name

    def twice(self) -> tuple[str, str]:
        once = self.adapter()
        self.made += 1
        return once, f"{once}+{save_adapter(Path(self.base), self._directory / f'adapter{self.made}')}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda m: {"tuned": m.adapter(), "engine": "transformers"}, "--engine transformers moves weights"),
        (lambda m: {"tuned": m.other()}, "is a model of its own, not BASE\\+ADAPTER"),
        (lambda m: {"tuned": m.adapter(), "across": "random"}, "only on the one line from a base to BASE\\+ADAPTER"),
        (lambda m: {"tuned": m.adapter(), "third": m.other()}, "only on the one line from a base to BASE\\+ADAPTER"),
        (lambda m: {"tuned": m.adapter(), "through": [m.other()]}, "of --through lies beside the line"),
        (lambda m: {"base": m.other(), "tuned": m.adapter()}, "is an adapter on other files than those of"),
        (lambda m: dict(zip(("base", "tuned"), m.twice(), strict=True)), "has an adapter on it already"),
        (lambda m: {"tuned": m.adapter(modules_to_save=["lm_head"])}, OTHERWISE),
        (lambda m: {"tuned": m.adapter(bias="all")}, OTHERWISE),
        (lambda m: {"tuned": m.adapter(target_modules=["embed_tokens"])}, "embed_tokens.* " + OTHERWISE),
        (lambda m: {"tuned": m.head()}, "changes lm_head"),
        (lambda m: {"tuned": m.adapter(r=513)}, "has rank 513; vLLM takes adapters up to rank 512"),
        (lambda m: {"tuned": m.adapter(use_dora=True)}, OTHERWISE),
        (lambda m: {"tuned": m.adapter(trainable_token_indices=[5])}, "embed_tokens.* " + OTHERWISE),
        (
            lambda m: {"tuned": m.adapter(init_lora_weights="pissa")},
            "is 'pissa', which changes the base",
        ),
        (lambda m: {"tuned": m.adapter(), "adapter": "beside"}, "--adapter beside: expected auto, merged or unmerged"),
    ],
)
def test_an_adapter_that_must_be_merged_is_refused(
    tmp_path: Path, given: Callable[[Models], dict[str, object]], said: str
) -> None:
    """The error is one line with the reason, and no file is written."""
    base = save_model(tmp_path / "model", UNTIED)
    asked: dict[str, Any] = {
        "base": str(base),
        "engine": "vllm",
        "adapter": "unmerged",
        **given(Models(tmp_path, base)),
    }
    with pytest.raises(InputError, match=said) as refused:
        safescape.path(asked.pop("base"), asked.pop("tuned"), asked.pop("third", None), out=tmp_path / "run", **asked)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_scan_has_no_adapter(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only on the one line from a base to BASE"):
        safescape.scan(str(tiny_model), engine="vllm", adapter="unmerged", out=tmp_path / "run")


@pytest.mark.parametrize(
    ("asked", "device", "dtype", "chosen"),
    [
        ("auto", "cpu", "float32", "merged"),
        ("unmerged", "cpu", "float32", "unmerged"),
        ("auto", "cuda", "bfloat16", "unmerged"),
        ("auto", "cuda", "float32", "merged"),
        ("merged", "cuda", "bfloat16", "merged"),
    ],
)
def test_the_mode_that_auto_selects(
    tiny_model: Path, tmp_path: Path, asked: str, device: str, dtype: str, chosen: str
) -> None:
    """An adapter is unmerged on a GPU if possible; on a CPU, where that is slow, only on request."""
    name = Models(tmp_path, tiny_model).adapter()
    axis = InterpolationAxis(toward=name, fingerprint="sha256:0", steps=2, low=0.0, high=1.0)
    options = read(MeasureOptions, {"adapter": asked, "engine": "vllm", "dtype": dtype})
    assert _adapter(options, resolve(str(tiny_model)), Lines(axes=(axis,)), (), device, dtype) == chosen


def test_float32_on_a_gpu(tiny_model: Path, tmp_path: Path) -> None:
    axis = InterpolationAxis(
        toward=Models(tmp_path, tiny_model).adapter(), fingerprint="sha256:0", steps=2, low=0.0, high=1.0
    )
    why = why_merged(resolve(str(tiny_model)), Lines(axes=(axis,)), (), engine="vllm", dtype="float32", device="cuda:0")
    assert why is not None
    assert "give --dtype bfloat16" in why


def test_a_worker_is_handed_a_group() -> None:
    """A group is named by its first point; its stored points are measured again but not returned."""
    survey = make_survey(prompts=2, subspace=path_line(4, low=0.0, high=1.0)).model_copy(
        update={"adapter": "unmerged", "batch_size": 4, "engine": "vllm"}
    )
    points = list(survey.points())
    wanted = [points[0], points[2], points[3], points[4]]
    groups = {group[0]: group for group in groups_of(survey, wanted)}
    assert list(groups.values()) == [(points[0],), (points[1], points[2]), (points[3], points[4])]

    class Handed:
        """A dispatch whose last group fails."""

        def begin(self) -> str:
            return "sha256:0"

        def measured(self) -> Iterator[Measurement | Failed]:
            for first, *others in list(groups.values())[:2]:
                yield from (Measurement(point, Position(point.coords, 0.0), {}, {}, 1.0) for point in (first, *others))
            yield Failed(points[3], "out of memory")

    reserved = Reservation(1, 1, 0.0)
    workers = RayWorkers(survey, Any, Any, Handed(), reserved, groups, wanted)  # type: ignore[arg-type]
    found = list(workers.measured())
    assert [each.point for each in found] == wanted
    assert [isinstance(each, Failed) for each in found] == [False, False, True, True]


def test_an_invalid_survey_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    """The survey was written by hand, or for another machine."""
    axis = InterpolationAxis(
        toward=Models(tmp_path, tiny_model).other(), fingerprint="sha256:0", steps=2, low=0.0, high=1.0
    )
    survey = make_survey(prompts=2, subspace=Lines(axes=(axis,))).model_copy(
        update={"adapter": "unmerged", "engine": "vllm"}
    )
    model = resolve(str(tiny_model))
    tokenizer = load_tokenizer(model.directory, chat_template=None, trust_remote_code=False)
    with pytest.raises(InputError, match=r"the survey has its adapter unmerged: .* is a model of its own"):
        open_engine(survey, model, tokenizer, {"harmful": ["a", "b"]})
