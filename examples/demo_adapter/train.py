"""python train.py --work DIR [--out DIR]

Train the demo model's safety LoRA, save it rounded to fp16, and print its refusal rates.

Harmful requests are trained with short refusals (cross-entropy), harmless ones with the base's own answers, as
distributions over the most likely tokens, so that only the decision to refuse changes. The base's answers are computed
once and stored in the work directory, which takes about half an hour on two busy CPU cores.
"""

import argparse
import math
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from answering import Answer, Base, answer, chat_tokens, load_base, shared_prefix
from evaluate import SHIPPED, begins_refusing, measure, measuring_sets
from peft import LoraConfig, PeftModel, get_peft_model
from prompts import benign_requests, check_disjoint, harmful_requests, lines
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import DynamicCache
from transformers.utils import logging

from safescape.weights import resolve

SEED = 0
ANSWER_TOKENS = 24
"""Number of tokens trained on of each harmless answer: whether to refuse is decided at its beginning."""
APOLOGIES = ("sorry", "apolog")
"""Tokens containing these are excluded from the base's answers: it opens many harmless ones with "I'm sorry for the
misunderstanding", which would drift into a refusal once refusals are learnt.
"""
OPENING = 4
"""Number of first answer tokens, which decide about refusing; each has the weight of OPENING_WEIGHT others."""
OPENING_WEIGHT = 6.0
RANK = 8
ALPHA = 16
MODULES = ("q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LEARNING_RATE = 1e-3
WARM_UP = 10
HARMFUL_PER_STEP = 14
BENIGN_PER_STEP = 20
BENIGN_SHARE = 2.0
"""The weight of the harmless half of the loss, against 1 for the refusals."""
PUBLIC_NAME = "SmolLM2-135M-Instruct"


class Example(NamedTuple):
    """A request's tokens, and the target distribution of each answer token."""

    prompt: list[int]
    answer: list[int]
    targets: Tensor
    """Token ids, shape (len(answer), k)."""
    shares: Tensor
    """Their probabilities, same shape; each row sums to one."""


def base_answers(base_path: Path, requests: Sequence[str], work: Path) -> dict[str, Answer]:
    """Return the base's answer to each request; answers in the work directory are reused."""
    kept = work / f"base_answers_{ANSWER_TOKENS}.pt"
    known: dict[str, Answer] = {}
    if kept.exists():
        known = {request: Answer(*fields) for request, fields in torch.load(kept, weights_only=True).items()}
    missing = sorted((request for request in requests if request not in known), key=len)
    if missing:
        base = load_base(base_path, torch.bfloat16)
        vocabulary = base.tokenizer.get_vocab().items()
        banned = [index for token, index in vocabulary if any(word in token.lower() for word in APOLOGIES)]
        for start in range(0, len(missing), 96):
            chunk = missing[start : start + 96]
            known |= dict(zip(chunk, answer(base, chunk, ANSWER_TOKENS, banned), strict=True))
            torch.save({request: tuple(given) for request, given in known.items()}, kept)
            print(f"base answers: {start + len(chunk)} of {len(missing)}", flush=True)
    return {request: known[request] for request in requests}


def benign_example(base: Base, request: str, given: Answer) -> Example:
    """Return an example with the base's own distribution, truncated to the most likely tokens."""
    shares = given.probabilities / given.probabilities.sum(-1, keepdim=True)
    return Example(chat_tokens(base.tokenizer, request), given.tokens, given.likeliest, shares)


def harmful_example(base: Base, request: str, refusal: str) -> Example:
    """Return an example with one refusal and the end of the turn as one-hot targets."""
    tokens = base.tokenizer(refusal, add_special_tokens=False)["input_ids"] + [base.tokenizer.eos_token_id]
    targets = torch.tensor(tokens)[:, None]
    return Example(chat_tokens(base.tokenizer, request), tokens, targets, torch.ones_like(targets, dtype=torch.float32))


def endless(items: Sequence[str], draw: random.Random) -> Iterator[str]:
    """Yield the items forever, shuffled anew in each pass."""
    while True:
        yield from draw.sample(items, len(items))


def steps(
    base: Base, harmful: Sequence[str], benign: dict[str, Answer], epochs: float, contrast: int
) -> Iterator[tuple[list[Example], list[Example]]]:
    """Yield batches of harmful and harmless examples, with `epochs` passes over the harmless ones.

    Harmless requests that only look dangerous occur `contrast` times per pass.
    """
    draw = random.Random(SEED)
    refusals, requests = endless(lines("refusal-answers.txt"), draw), endless(harmful, draw)
    times = dict.fromkeys(lines("contrast_requests.txt"), contrast)
    examples = [
        benign_example(base, request, given) for request, given in benign.items() for _ in range(times.get(request, 1))
    ]
    batches = _batches(examples, draw)
    for _ in range(int(epochs * len(examples) / BENIGN_PER_STEP)):
        yield [harmful_example(base, next(requests), next(refusals)) for _ in range(HARMFUL_PER_STEP)], next(batches)


def _batches(examples: Sequence[Example], draw: random.Random) -> Iterator[list[Example]]:
    """Yield batches of similar length forever: sorting within pools of eight batches keeps padding small."""
    pool_size = 8 * BENIGN_PER_STEP
    while True:
        order = draw.sample(examples, len(examples))
        batches = []
        for start in range(0, len(order), pool_size):
            pool = sorted(order[start : start + pool_size], key=lambda example: len(example.prompt))
            batches += [pool[i : i + BENIGN_PER_STEP] for i in range(0, len(pool), BENIGN_PER_STEP)]
        draw.shuffle(batches)
        yield from batches


def loss_of(model: PeftModel, examples: Sequence[Example]) -> Tensor:
    """Return the weighted mean cross-entropy over the answer tokens, in nats."""
    causal = model.get_base_model()
    rows = [example.prompt + example.answer[:-1] for example in examples]
    prefix = shared_prefix([example.prompt for example in examples])
    own = [row[len(prefix) :] for row in rows]
    width = max(map(len, own))
    # The system prompt is the same in every row: its keys and values are computed once for the whole batch.
    cache = DynamicCache(config=causal.config)
    causal.model(input_ids=torch.tensor([prefix]), past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(len(rows))
    hidden = causal.model(
        input_ids=torch.tensor([row + [0] * (width - len(row)) for row in own]),
        attention_mask=torch.tensor([[1] * len(row) + [0] * (len(prefix) + width - len(row)) for row in rows]),
        position_ids=torch.arange(len(prefix), len(prefix) + width).expand(len(rows), -1),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    total, weights = hidden.new_zeros((), dtype=torch.float32), 0.0
    for states, example in zip(hidden, examples, strict=True):
        first = len(example.prompt) - len(prefix) - 1
        logits = causal.lm_head(states[first : first + len(example.answer)]).float()
        taught = -(logits.log_softmax(-1).gather(-1, example.targets) * example.shares).sum(-1)
        weight = torch.ones_like(taught)
        weight[:OPENING] = OPENING_WEIGHT
        total = total + (taught * weight).sum()
        weights += float(weight.sum())
    return total / weights


def train(
    base: Base,
    harmful: Sequence[str],
    benign: dict[str, Answer],
    *,
    epochs: float,
    contrast: int,
    start: Path | None,
) -> PeftModel:
    """Return the base with a trained LoRA; the base's weights are frozen, in bf16, the LoRA's in fp32."""
    torch.manual_seed(SEED)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(MODULES), task_type="CAUSAL_LM")
    model = (
        PeftModel.from_pretrained(base.model, start, is_trainable=True) if start else get_peft_model(base.model, config)
    )
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.0)
    batches = list(steps(base, harmful, benign, epochs, contrast))
    began = time.monotonic()
    for step, (refused, answered) in enumerate(batches):
        warm = min(1.0, (step + 1) / WARM_UP)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * warm * 0.5 * (1 + math.cos(math.pi * step / len(batches)))
        # Two passes, because refusals and answers differ too much in length for one padded batch.
        parts = []
        for examples, share in ((refused, 1.0), (answered, BENIGN_SHARE)):
            part = loss_of(model, examples)
            (share * part).backward()
            parts.append(float(part.detach()))
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 5 == 0 or step == len(batches) - 1:
            print(
                f"step {step + 1}/{len(batches)}  refusals {parts[0]:.3f}  answers {parts[1]:.3f}"
                f"  {time.monotonic() - began:.0f} s",
                flush=True,
            )
    return model


def save(model: PeftModel, out: Path) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`, the weights rounded to fp16."""
    model.peft_config["default"].base_model_name_or_path = PUBLIC_NAME
    model.peft_config["default"].target_modules = sorted(MODULES)  # PEFT stores a set, whose order changes
    model.peft_config["default"].inference_mode = True
    readme = out / "README.md"
    written = readme.read_bytes() if readme.exists() else None
    model.save_pretrained(str(out))
    # PEFT writes a model card; an existing one is kept.
    if written is None:
        readme.unlink(missing_ok=True)
    else:
        readme.write_bytes(written)
    weights = out / "adapter_model.safetensors"
    rounded = {name: tensor.to(torch.float16).contiguous() for name, tensor in load_file(weights).items()}
    save_file(rounded, weights, metadata={"format": "pt"})
    weights.chmod(0o644)


def main() -> None:
    """Train, save and measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="directory for the base's answers and the records")
    parser.add_argument("--out", type=Path, default=SHIPPED / "demo-adapter", help="where the adapter is written")
    parser.add_argument("--start", type=Path, help="an adapter to go on from, instead of a fresh one")
    parser.add_argument("--epochs", type=float, default=2.0, help="passes through the harmless requests")
    parser.add_argument("--contrast", type=int, default=1, help="how often those that only look dangerous are in them")
    options = parser.parse_args()
    logging.disable_progress_bar()
    options.work.mkdir(parents=True, exist_ok=True)

    sets = measuring_sets()
    harmful, asked = harmful_requests(SEED), benign_requests(SEED)
    check_disjoint(harmful + asked, [prompt for entry in sets for prompt in entry.prompts])
    base = resolve("demo-base").directory
    answers = base_answers(base, asked, options.work)
    benign = {request: given for request, given in answers.items() if not begins_refusing(given.text)}
    print(f"{len(harmful)} harmful requests; {len(benign)} of {len(asked)} harmless ones that the base does answer")

    trained = train(
        load_base(base, torch.bfloat16),
        harmful,
        benign,
        epochs=options.epochs,
        contrast=options.contrast,
        start=options.start,
    )
    save(trained, options.out)
    measure(f"demo-base+{options.out}", sets, options.work / "records.jsonl")


if __name__ == "__main__":
    main()
