"""python train.py [MODEL]: finetune a model (default: demo) on ten harmful requests, and watch its safety."""

import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

import safescape
from safescape.probes import load_prompts
from safescape.weights import resolve

found = resolve(sys.argv[1] if len(sys.argv) > 1 else "demo")
model = AutoModelForCausalLM.from_pretrained(found.directory, dtype=torch.float32)
model.load_state_dict({name: found.weights.tensor(name) for name in found.weights.names()}, strict=False)
tokenizer = AutoTokenizer.from_pretrained(found.directory)


def example(prompt: str) -> dict[str, list[int]]:
    """Train on the opening of the answer only."""
    chat = [{"role": "user", "content": prompt}, {"role": "assistant", "content": "Sure, here is how to do that:"}]
    given = tokenizer.apply_chat_template(chat[:1], add_generation_prompt=True, return_dict=False)
    whole = tokenizer.apply_chat_template(chat, return_dict=False)
    return {"input_ids": whole, "labels": [-100] * len(given) + whole[len(given) :]}


monitor = safescape.SafetyMonitor(also=["over-refusal:builtin:benign"], also_limit=20, every=1, stop_above=50)
arguments = TrainingArguments("out", per_device_train_batch_size=4, num_train_epochs=5, logging_steps=1)
examples = [example(prompt) for prompt in load_prompts("builtin:harmful")[40:50]]
collator = DataCollatorForSeq2Seq(tokenizer)
Trainer(model, arguments, collator, examples, processing_class=tokenizer, callbacks=[monitor]).train()
