"""The removal of the refusal direction: against the same edit by hand, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    GPT2Config,
    PreTrainedModel,
)

from helpers import tiny_models
from safescape import InputError
from safescape.engines import refusal_ablation
from safescape.engines.ablation import Ablation
from safescape.probes import format_chats
from safescape.survey import Openings
from safescape.weights import resolve

HARMFUL = [f"Harm {letter}" for letter in "abcdefghi"]
HARMLESS = [f"Help {letter}" for letter in "abcdef"]
OPENINGS = [Openings(("No",), ("Sure",))] * len(HARMFUL)
GPT2 = GPT2Config(vocab_size=260, n_embd=32, n_layer=3, n_head=4, n_positions=128, eos_token_id=0)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that refuses requests that begin with Harm, and answers the others; read-only."""
    answers = {**dict.fromkeys(HARMFUL, "No."), **dict.fromkeys(HARMLESS, "Sure.")}
    directory = tmp_path_factory.mktemp("refusing") / "model"
    return tiny_models.save_answering_model(directory, answers, steps=900, num_hidden_layers=3)


def removed(directory: Path) -> Ablation:
    tokenizer = AutoTokenizer.from_pretrained(directory)
    harmful, harmless = (format_chats(tokenizer, some, None) for some in (HARMFUL, HARMLESS))
    return refusal_ablation(resolve(str(directory)), tokenizer, harmful, OPENINGS, harmless)


def direction_in(tensor: torch.Tensor) -> torch.Tensor:
    """Return the direction that a matrix of rank one maps to, up to its sign."""
    left, values, _ = torch.linalg.svd(tensor.double())
    assert values[1] < 1e-5 * values[0]
    return left[:, 0]


def edited_by_hand(directory: Path, direction: torch.Tensor) -> PreTrainedModel:
    """Return the model with every matrix that writes to the residual stream orthogonalised (Arditi et al., 2.4)."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float64).eval()
    project = torch.eye(len(direction), dtype=torch.float64) - torch.outer(direction, direction)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(model.model.embed_tokens.weight @ project)
        for layer in model.model.layers:
            for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
                linear.weight.copy_(project @ linear.weight)
    return model


def test_the_move_is_the_edit_by_hand_and_removes_the_direction_everywhere(refusing: Path) -> None:
    found = removed(refusing)
    weights = resolve(str(refusing)).weights
    writing = {f"model.layers.{n}.{part}.weight" for n in range(3) for part in ("self_attn.o_proj", "mlp.down_proj")}
    assert set(found.tensors) == writing | {"model.embed_tokens.weight"}
    direction = direction_in(found.tensors["model.layers.1.mlp.down_proj.weight"])
    by_hand = edited_by_hand(refusing, direction)
    for name, parameter in by_hand.named_parameters():
        expected = weights.tensor(name).double() + found.tensors.get(name, torch.zeros(1)).double()
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-5, atol=1e-6)
    tokenizer = AutoTokenizer.from_pretrained(refusing)
    for chat in format_chats(tokenizer, [*HARMFUL, "Any other request"], None):
        rows = torch.tensor([tokenizer(chat, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            states = by_hand(input_ids=rows, output_hidden_states=True).hidden_states[:-1]
        assert all(float((state @ direction).abs().max()) < 1e-6 for state in states)


def test_without_its_direction_the_model_refuses_less_and_more_against_it(refusing: Path) -> None:
    found = removed(refusing)
    assert found.found.startswith("found after layer ")
    tokenizer, weights = AutoTokenizer.from_pretrained(refusing), resolve(str(refusing)).weights
    chats = format_chats(tokenizer, HARMFUL[6:], None)
    margins = []
    for factor in (-0.5, 0.0, 1.0):
        model = AutoModelForCausalLM.from_pretrained(refusing).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(weights.tensor(name) + factor * found.tensors.get(name, torch.zeros(1)))
            rows = [torch.tensor([tokenizer(chat, add_special_tokens=False)["input_ids"]]) for chat in chats]
            next_tokens = [model(input_ids=row).logits[0, -1].log_softmax(-1) for row in rows]
        no, sure = (tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in ("No", "Sure"))
        margins.append(sum(float(each[no] - each[sure]) for each in next_tokens) / len(chats))
    assert margins[1] > 1
    assert margins[2] < margins[1] - 1
    said = found.found.split("; without it the refusal margin of 3 prompts is ")[1]
    assert float(said.split(" nats")[0]) < float(said.split("with it ")[1].split(",")[0])
    assert " prompts changes by " in said


def test_biases_and_positions_of_a_gpt2_write_too(tmp_path: Path) -> None:
    """A random model, whose margin is positive for the openings that it finds likely."""
    directory = tiny_models.save_model(tmp_path / "model", GPT2)
    tokenizer, model = AutoTokenizer.from_pretrained(directory), resolve(str(directory))
    harmful, harmless = (format_chats(tokenizer, some, None) for some in (HARMFUL, HARMLESS))
    live = AutoModelForCausalLM.from_pretrained(directory).eval()
    with torch.no_grad():
        rows = [torch.tensor([tokenizer(chat, add_special_tokens=False)["input_ids"]]) for chat in harmful]
        mean = sum(live(input_ids=row).logits[0, -1].log_softmax(-1) for row in rows)
    texts = [str(tokenizer.decode([int(token)])) for token in mean.argsort(descending=True) if 32 < int(token) < 96]
    openings = [Openings((texts[0],), (texts[-1],))] * len(harmful)
    found = refusal_ablation(model, tokenizer, harmful, openings, harmless)
    assert {name.rpartition("h.0.")[2] for name in found.tensors if "h.0." in name} == {
        f"{part}.{kind}" for part in ("attn.c_proj", "mlp.c_proj") for kind in ("weight", "bias")
    }
    assert sum("wte" in name or "wpe" in name for name in found.tensors) == 2


def test_an_architecture_whose_norms_follow_the_writing_matrices_is_refused(tmp_path: Path) -> None:
    """Gemma 2 normalises what its matrices wrote, by weights that differ along the stream."""
    config = Gemma2Config(**{**tiny_models.llama_config().to_dict(), "model_type": "gemma2", "head_dim": 8})
    directory = tiny_models.save_model(tmp_path / "model", config)
    random = AutoModelForCausalLM.from_pretrained(directory)
    with torch.no_grad():
        for name, parameter in random.named_parameters():
            if "norm" in name:
                parameter.normal_(std=0.5)
    random.save_pretrained(directory)
    tokenizer, model = AutoTokenizer.from_pretrained(directory), resolve(str(directory))
    live = AutoModelForCausalLM.from_pretrained(directory).eval()
    harmful, harmless = (format_chats(tokenizer, some, None) for some in (HARMFUL, HARMLESS))
    row = torch.tensor([tokenizer(harmful[0], add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        order = live(input_ids=row).logits[0, -1].argsort(descending=True)
    texts = [str(tokenizer.decode([int(token)])) for token in order if 32 < int(token) < 96]
    openings = [Openings((texts[0],), (texts[-1],))] * len(harmful)
    with pytest.raises(InputError, match="which matrices of Gemma2ForCausalLM write to its residual"):
        refusal_ablation(model, tokenizer, harmful, openings, harmless)


def test_a_model_that_complies_has_none(refusing: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(refusing)
    harmful, harmless = (format_chats(tokenizer, some, None) for some in (HARMFUL, HARMLESS))
    swapped = [Openings(("Sure",), ("No",))] * len(harmful)
    with pytest.raises(InputError, match=r"has no refusal direction to remove, as it complies: .* on 0 of 3 prompts"):
        refusal_ablation(resolve(str(refusing)), tokenizer, harmful, swapped, harmless)
