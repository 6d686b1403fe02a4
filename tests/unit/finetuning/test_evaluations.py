"""The log of a repair: evaluations are stored as they are measured, and only the same repair reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safescape import InputError
from safescape.finetuning import Evaluation
from safescape.finetuning.evaluations import EvaluationLog, RepairRequest

REQUEST = RepairRequest(
    base="base",
    base_fingerprint="sha256:0",
    tuned="tuned",
    tuned_fingerprint="sha256:1",
    layers=1,
    max_asr=10.0,
    prompts="builtin:harmful",
    asked="0",
    loss="",
    scored="0",
    max_new_tokens=128,
    batch_size=128,
    dtype="float32",
    device="cpu",
)


def evaluation(alpha: float, complied: int = 3, loss: float | None = 1 / 3) -> Evaluation:
    return Evaluation((alpha,), 80, complied, loss)


def stored(directory: Path, *evaluations: Evaluation) -> Path:
    with EvaluationLog.open(directory, REQUEST) as log:
        for each in evaluations:
            assert log.add(each) == each
    return directory / "evaluations.jsonl"


def test_evaluations_are_read_back_exactly(tmp_path: Path) -> None:
    measured = [evaluation(1.0), evaluation(0.0, 0, None), evaluation(1 / 3, 80, float("inf"))]
    path = stored(tmp_path / "out", *measured)
    assert len(path.read_text().splitlines()) == 4
    with EvaluationLog.open(tmp_path / "out", REQUEST) as log:
        assert [log.get(each.coords) for each in measured] == measured
        assert log.get((0.5,)) is None


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_line_that_was_not_written_to_its_end_is_measured_again(tmp_path: Path, cut: int) -> None:
    path = stored(tmp_path / "out", evaluation(1.0), evaluation(0.5))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with EvaluationLog.open(tmp_path / "out", REQUEST) as log:
        assert log.get((1.0,)) == evaluation(1.0)
        assert log.get((0.5,)) is None
        log.add(evaluation(0.5))
    assert path.read_bytes() == whole


def test_another_request_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path / "out", evaluation(1.0))
    before = path.read_bytes()
    other = REQUEST.model_copy(update={"dtype": "bfloat16"})
    refused = pytest.raises(InputError, match=r"holds another repair \(dtype: 'bfloat16' here, 'float32' there\)")
    with refused, EvaluationLog.open(tmp_path / "out", other):
        pass
    assert path.read_bytes() == before


@pytest.mark.parametrize("head", ["{", "[]", json.dumps({"schema_version": 2}), ""])
def test_a_log_that_is_no_log_is_refused(tmp_path: Path, head: str) -> None:
    (tmp_path / "evaluations.jsonl").write_text(head + "\n")
    with pytest.raises(InputError, match="is no repair of this version"), EvaluationLog.open(tmp_path, REQUEST):
        pass


def test_two_processes_do_not_repair_in_one_directory(tmp_path: Path) -> None:
    with EvaluationLog.open(tmp_path / "out", REQUEST) as log:
        log.add(evaluation(1.0))
        with pytest.raises(InputError, match="another process is repairing in it"):
            EvaluationLog.open(tmp_path / "out", REQUEST).__enter__()


def test_an_error_before_the_first_evaluation_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), EvaluationLog.open(tmp_path / "out", REQUEST):
        raise KeyboardInterrupt
    assert not (tmp_path / "out").exists()
    stored(tmp_path / "out", evaluation(1.0))
    with pytest.raises(KeyboardInterrupt), EvaluationLog.open(tmp_path / "out", REQUEST):
        raise KeyboardInterrupt
    assert (tmp_path / "out" / "evaluations.jsonl").exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    EvaluationLog.check(tmp_path / "new")
    EvaluationLog.check(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match="is not empty; give a new directory"):
        EvaluationLog.check(tmp_path)
    with pytest.raises(InputError, match="is a file; give a new directory"):
        EvaluationLog.check(tmp_path / "model.safetensors")
