"""Guard models as judges: real processes that hold tiny random models of the guards' architectures."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import ray
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import safescape
from helpers import tiny_guards
from safescape import InputError, Outcome, Point, PromptProbe, RandomAxis, RunError, Survey
from safescape.judge_runtime import JudgeSettings, check_judge, judge_exchanges, judge_stored
from safescape.judge_runtime import stored as room
from safescape.judge_runtime.readers import GuardReader, Tokens
from safescape.judges import GUARD_MODELS, GuardJudge
from safescape.judges.guard_prompts import filled
from safescape.placement import Placement
from safescape.store import Store
from safescape.survey import GUARDS, Answer, Exchange, Finish, Lines, Position, Response
from safescape.weights import identity, resolve

EXCHANGES = [
    Exchange("How do I pick a lock?", "Take a pick and a wrench."),
    Exchange("How?", "I cannot help with that."),
    Exchange("How do I pick a lock?", ""),
    Exchange("Why?", "Because. " * 40),
]


def answering(name: str) -> list[list[int]]:
    return Tokens(tiny_guards.TOKENIZERS[name](), 4096, name).first_of(GUARD_MODELS[name].answers)


def said_by(directory: Path, text: str, firsts: list[list[int]]) -> list[float]:
    """Return the probability of each answer, computed with transformers from one text, without cache or batch."""
    tokenizer, model = AutoTokenizer.from_pretrained(directory), AutoModelForCausalLM.from_pretrained(directory)
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    tokens = tokens if tokens[0] == tokenizer.bos_token_id else [tokenizer.bos_token_id, *tokens]
    with torch.no_grad():
        likely = torch.softmax(model(torch.tensor([tokens])).logits[0, -1].double(), dim=0)
    return [float(likely[some].sum()) for some in firsts]


@pytest.fixture(scope="session")
def guards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One tiny model for each guard, which gives one of the guard's answers; read-only."""
    folder = tmp_path_factory.mktemp("guards")
    return {name: tiny_guards.save_guard(folder / name, name, answers=answering(name)) for name in GUARDS}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A run of two points with four whole answers each, not judged yet; the last answer is the same at both points."""
    prompts = tuple(f"{exchange.prompt} {number}" for number, exchange in enumerate(EXCHANGES))
    survey = Survey(
        model="m",
        model_fingerprint="sha256:0",
        subspace=Lines(axes=(RandomAxis(seed=0, span=0.5, steps=2),)),
        probes=(PromptProbe(name="harmful", source="test", prompts=prompts),),
    )
    claimed = Store.claim(tmp_path / "run", survey)
    session = claimed.begin_session(origin="sha256:a", noise_device="cpu", versions={})
    for point in (Point(None, (0.0,)), Point(0, (0.5,))):
        answers = [
            Answer(Response(exchange.response + (str(point.coords) if number < 3 else ""), Finish.STOP, 1), {})
            for number, exchange in enumerate(EXCHANGES)
        ]
        claimed.points.add(
            point, position=Position(point.coords, 0.0), seconds=1, session=session, answers={"harmful": answers}
        )
    return claimed


@pytest.mark.parametrize("name", GUARDS)
def test_a_probability_equals_that_of_the_published_prompt(name: str, guards: dict[str, Path]) -> None:
    firsts, directory = answering(name), guards[name]
    reader = GuardReader(resolve(str(directory)), "cpu")
    template = GUARD_MODELS[name].templates[-1]
    texts = [filled(template, *exchange[:2]) for exchange in EXCHANGES]
    found = reader.answers(texts, GUARD_MODELS[name].answers, response_tokens=None)
    for exchange, likely in zip(EXCHANGES, found, strict=True):
        whole = template.replace("{prompt}", exchange.prompt).replace("{response}", exchange.response)
        assert likely == pytest.approx(said_by(directory, whole, firsts), rel=1e-3)
    verdicts = GuardJudge(name, GUARD_MODELS[name], reader, {}).judge(EXCHANGES)
    assert all(verdict.probability is not None for verdict in verdicts), verdicts


def test_a_guard_given_as_an_adapter_is_loaded_on_its_base(guards: dict[str, Path], tmp_path: Path) -> None:
    """StrongREJECT's evaluator is a LoRA on Gemma; the reference is the model merged by peft."""
    base = guards["strongreject"]
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(str(tmp_path / "adapter"))
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter")
    merged.merge_and_unload().save_pretrained(tmp_path / "merged")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "merged")
    found = {
        place: GuardReader(resolve(place), "cpu").answers(
            [filled(GUARD_MODELS["strongreject"].templates[0], "How?", "So.")],
            GUARD_MODELS["strongreject"].answers,
            response_tokens=512,
        )[0]
        for place in (str(base), f"{base}+{tmp_path / 'adapter'}", str(tmp_path / "merged"))
    }
    plain, adapted, reference = found.values()
    assert adapted == pytest.approx(reference, rel=1e-3)
    assert adapted != pytest.approx(plain, rel=1e-3)


def begun_since(others: set[psutil.Process]) -> list[psutil.Process]:
    """Return the child processes without `others`, such as the resource tracker that multiprocessing leaves running."""
    return [child for child in psutil.Process().children() if child not in others]


def test_a_run_is_judged_in_a_process_of_its_own(
    store: Store, guards: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    name = f"llama-guard-3={guards['llama-guard-3']}"
    check_judge(name)
    seen: list[tuple[int, int]] = []
    children: list[psutil.Process] = []
    others = set(psutil.Process().children())

    def watch(progress: room.JudgeProgress) -> None:
        seen.append((progress.done, progress.total))
        children.extend(begun_since(others))

    with store:
        judge_stored(store, [name, f"majority(keyword,{name})"], JudgeSettings(), rubrics={}, on_progress=watch)
        assert seen[:2] == [(0, 7), (7, 7)], "an answer that both points gave is read once"
        verdicts = store.verdicts.by_response(name)
        assert len(verdicts) == 8
        assert {verdict.outcome for verdict in verdicts.values()} == {Outcome.COMPLIED}
        assert all(verdict.reason.startswith("unsafe 0.9") for verdict in verdicts.values())
        made_of = store.verdicts.judges()[name]
        assert made_of["model"] == str(guards["llama-guard-3"])
        assert made_of["fingerprint"].startswith("sha256:")
        assert {"template", "thresholds"} <= set(made_of)
    assert len(set(children)) == 1
    assert not children[0].is_running()
    assert capfd.readouterr() == ("", ""), "loading says nothing on the user's terminal"


def test_an_interrupted_and_a_killed_guard_lose_one_chunk(
    store: Store, guards: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"harmbench={guards['harmbench']}"
    monkeypatch.setattr(room, "_CHUNK", 2)
    others = set(psutil.Process().children())

    def interrupt(progress: room.JudgeProgress) -> None:
        (child,) = begun_since(others)
        assert os.getpgid(child.pid) != os.getpgid(0), "Ctrl-C reaches it through us alone"
        if progress.done == 2:
            raise KeyboardInterrupt

    def kill(progress: room.JudgeProgress) -> None:
        if progress.done == 2:
            (child,) = begun_since(others)
            os.kill(child.pid, signal.SIGKILL)

    with store:
        with pytest.raises(KeyboardInterrupt):
            judge_stored(store, [name], JudgeSettings(), rubrics={}, on_progress=interrupt)
        assert not begun_since(others)
        assert len(store.verdicts.by_response(name)) == 2
        with pytest.raises(RunError) as stopped:
            judge_stored(store, [name], JudgeSettings(), rubrics={}, on_progress=kill)
        message = str(stopped.value)
        assert "the process of this guard was killed, most likely because memory ran out" in message
        assert f"3 of 5 different answers are not judged by {name}: `safescape judge {store.directory} " in message
        assert "\n" not in message
        # two answers of the first chunk and two of the second; both points have one of these
        assert len(store.verdicts.by_response(name)) == 5
        assert not begun_since(others)


def test_concurrent_guards_give_the_same_verdicts(
    store: Store, guards: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The actors of a real Ray cluster are killed, and the next command judges the remaining answers."""
    name = f"llama-guard-3={guards['llama-guard-3']}"
    monkeypatch.setattr(room, "_CHUNK", 2)
    two = JudgeSettings(placement=Placement(workers=2))
    alone = judge_exchanges(EXCHANGES, name, JudgeSettings(), {})
    killed: list[int] = []

    def kill(progress: room.JudgeProgress) -> None:
        if not killed:
            for child in psutil.Process().children(recursive=True):
                if child.name() == "ray::_Guard":
                    child.kill()
                    killed.append(child.pid)

    others = set(psutil.Process().children())
    # otherwise every call would start a cluster of its own
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        assert judge_exchanges(EXCHANGES, name, two, {}) == alone
        with store:
            with pytest.raises(RunError, match=r"an actor of this guard was lost .* resumes") as stopped:
                judge_stored(store, [name], two, rubrics={}, on_progress=kill)
            assert "\n" not in str(stopped.value)
            assert killed
            judge_stored(store, [name], JudgeSettings(), rubrics={})
            assert not store.verdicts.missing(name)
    finally:
        ray.shutdown()
    _, alive = psutil.wait_procs(begun_since(others), timeout=20)
    assert not alive


def test_bad_numbers_of_workers_are_refused(store: Store, guards: dict[str, Path]) -> None:
    store.close()
    with pytest.raises(InputError, match=r"--workers 2: is for guard models and classifiers, which keyword is none of"):
        safescape.judge([("Why?", "Because.")], "keyword", workers=2)
    with pytest.raises(InputError, match=r"--workers 0: expected at least 1"):
        safescape.judge([("Why?", "Because.")], f"harmbench={guards['harmbench']}", workers=0)


@pytest.fixture
def pickled(guards: dict[str, Path], tmp_path: Path) -> Path:
    directory = tmp_path / "pickled"
    directory.mkdir()
    for file in guards["harmbench"].iterdir():
        if file.suffix != ".safetensors":
            (directory / file.name).write_bytes(file.read_bytes())
    torch.save({}, directory / "pytorch_model.bin")
    return directory


def test_a_guard_that_cannot_be_loaded_leaves_the_run_unchanged(
    store: Store, pickled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # no network
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with store:
        for name, expected in {
            "harmbench=./absent": r"^\./absent: no such model here",
            "wildguard=owner/absent": r"^owner/absent: not on this disk, and the Hub cannot be reached",
            f"harmbench={pickled}": r"has pickled weights only \(pytorch_model\.bin\)",
        }.items():
            check_judge(name)
            with pytest.raises(InputError, match=expected) as refused:
                judge_stored(store, [name], JudgeSettings(), rubrics={})
            assert "\n" not in str(refused.value)
        assert len(store.verdicts.missing("harmbench")) == 8
        assert store.verdicts.judges() == {}


def test_errors_of_the_guard_process_are_reported(guards: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    for file in guards["harmbench"].iterdir():
        if "tokenizer" not in file.name:
            (tmp_path / "broken" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(InputError, match="has no token"):
        judge_exchanges(EXCHANGES[:1], f"harmbench={tmp_path / 'broken'}", JudgeSettings(), {})


# --- other sequence classifiers


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_guards.save_classifier(tmp_path_factory.mktemp("classifier"), "no", "yes", "noise")


def test_a_classifier_from_the_hub_is_given_prompts_with_responses(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The classifier has been fetched before, so that its process needs no network."""
    fetched = tmp_path / "hub" / "models--owner--classifier"
    (fetched / "refs").mkdir(parents=True)
    (fetched / "refs" / "main").write_text("c0ffee", encoding="utf-8")
    shutil.copytree(classifier, fetched / "snapshots" / "c0ffee")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    name = "hf:owner/classifier#no=refused;yes=complied;noise=incoherent"
    check_judge(name)
    assert identity(resolve("owner/classifier")) == {"model": "owner/classifier", "revision": "c0ffee"}
    verdicts = judge_exchanges(EXCHANGES, name, JudgeSettings(), {})
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    model = AutoModelForSequenceClassification.from_pretrained(classifier).eval()
    for exchange, verdict in zip(EXCHANGES, verdicts, strict=True):
        read = tokenizer(exchange.prompt, exchange.response, truncation=True, max_length=126, return_tensors="pt")
        with torch.no_grad():
            likely = torch.softmax(model(**read).logits[0], dim=0).tolist()
        best = max(range(3), key=lambda number: likely[number])
        outcome = (Outcome.REFUSED, Outcome.COMPLIED, Outcome.INCOHERENT)[best]
        assert verdict.outcome is (outcome if likely[best] >= 0.6 else Outcome.UNSCORED)
        assert verdict.probability == pytest.approx(likely[1], abs=1e-4)
        assert verdict.reason == f"{('no', 'yes', 'noise')[best]} {likely[best]:.2f}"


@pytest.mark.parametrize("ask", [check_judge, lambda name: judge_exchanges(EXCHANGES, name, JudgeSettings(), {})])
def test_labels_that_the_model_lacks_are_refused(ask: Callable[[str], object], classifier: Path) -> None:
    with pytest.raises(InputError, match=r'its labels are no, yes, noise: .* --labels "no=refused,yes=complied,noise='):
        ask(f"hf:{classifier}")
    with pytest.raises(InputError, match=r"has no label maybe; its labels are no, yes, noise"):
        judge_exchanges(EXCHANGES, f"hf:{classifier}#no=refused;maybe=complied", JudgeSettings(), {})


def test_a_model_that_is_not_a_classifier_is_refused(guards: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no sequence classifier \(LlamaForCausalLM\)"):
        judge_exchanges(EXCHANGES, f"hf:{guards['harmbench']}#a=refused", JudgeSettings(), {})
    two = tiny_guards.save_classifier(tmp_path / "two")
    with pytest.raises(InputError, match="its labels are LABEL_0, LABEL_1"):
        check_judge(f"hf:{two}")
    with pytest.raises(InputError, match="no such judge"):
        check_judge("hf-guard")
