"""The vLLM engine: vLLM holds the live model and answers; its weights move as in the transformers engine.

vLLM packs weights for its kernels, so the live ones cannot be read back by the checkpoint's names. The fingerprint is
that of the weights passed to vLLM, which equals the transformers engine's for the same dtype. The log-probabilities of
a fixed text show that these weights answer: they must change with a move and be bit-equal after the return.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from safescape.engines.decoding import Continuation
from safescape.engines.engine import Engine
from safescape.engines.greedy import Settings, check_in_vllm, ends_of, generation_of
from safescape.engines.loading import load_config
from safescape.engines.loglikelihood import Likelihood, Request
from safescape.engines.parameters import check_whole
from safescape.engines.speaker import head_of, opening_requests, request_of, tokens_of
from safescape.engines.stages import Ending, TellsNoise, responses
from safescape.engines.vllm.launch import TokenCounts, check_vllm, explain, open_vllm, settings_of
from safescape.engines.vllm.lora import LoadedAdapters
from safescape.engines.vllm.worker import MovingWorker
from safescape.errors import InputError, RunError
from safescape.probes import Scored
from safescape.survey import Finish, Point, Position, Response, Thinking
from safescape.weights import Model, Share, Space, position_of, shares_of


class VllmEngine(Engine):
    """A model in vLLM whose weights are moved, or whose adapters are scaled; see also `TransformersEngine`.

    Args:
        counts: The numbers of tokens that vLLM must have room for.
        gpus: The number of GPUs that share the model by tensor parallelism.
        adapters: The adapters of the points; then no weight moves. None: weights move.
        generation: What the model's generation settings change of greedy decoding; None: what they say now.

    Raises:
        InputError: vLLM is not installed or cannot load the model, or the checkpoint lacks a tensor.

    """

    def __init__(
        self,
        model: Model,
        tokenizer: PreTrainedTokenizerBase,
        subspace: Space,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        batch_size: int = 128,
        counts: TokenCounts,
        gpus: int = 1,
        adapters: LoadedAdapters | None = None,
        trust_remote_code: bool = False,
        generation: Settings | None = None,
    ) -> None:
        check_vllm()
        self._origin, self._tokenizer, self._adapters = subspace.origin, tokenizer, adapters
        self._points: tuple[Point, ...] = (subspace.origin,)
        config = load_config(model, trust_remote_code=trust_remote_code)
        shapes = _shapes(model)
        text = config.get_text_config()
        if generation is None:
            generation = generation_of(model, tokenizer, trust_remote_code=trust_remote_code)
        check_in_vllm(generation)
        penalty: Any = generation.get("repetition_penalty", 1.0)
        self._repetition_penalty = float(penalty)
        self._ends = ends_of(generation, tokenizer)
        self._vocabulary = int(text.vocab_size)
        settings = settings_of(
            model, text, dtype, device, batch_size, counts, gpus, trust_remote_code=trust_remote_code
        )
        settings["worker_extension_cls"] = f"{MovingWorker.__module__}.{MovingWorker.__name__}"
        if adapters is not None:
            settings |= adapters.settings
        self._llm = open_vllm(model, settings)
        self._each("safescape_prepare", model.weights, subspace, shapes, dtype)
        if adapters is None:
            if gpus > 1:
                self._each("safescape_divide", self._shares(shapes))
            self.move_to(self._origin)
        self.fingerprint_at_start = self.fingerprint()
        try:
            self._logits_at_start = self._logits()
        except RuntimeError as error:
            # A kernel that does not support the model fails only when it runs.
            raise InputError(explain(model, error, settings)) from error

    def move_to(self, point: Point) -> Position:
        """Move the live weights, or select the point's adapter, and empty vLLM's prefix cache."""
        (position,) = self.stand_at([point])
        return position

    def stand_at(self, points: Sequence[Point]) -> list[Position]:
        """Move to several points at once; without adapters to one point only.

        Until the next move, prompts are passed in equal parts: the first part is answered at the first point, and so
        on, all in one batch. The origin, which has no adapter, must be alone: on a CPU, vLLM applies the adapter of
        its last slot to a request without one in a mixed batch.
        """
        if len(points) > 1 and (self._adapters is None or any(point.is_origin for point in points)):
            raise ValueError(f"cannot stand at {len(points)} points at once: weights are moved, or one is the origin")
        if self._adapters is None:
            positions = [position_of(point, self._each("safescape_move", point)) for point in points]
        else:
            positions = self._adapters.load(self._llm, points)
        self._points = tuple(points)
        if not self._llm.reset_prefix_cache():
            raise RunError("vLLM did not empty its prefix cache after a move; report this with the model's name")
        return positions

    def respond(
        self,
        chats: Sequence[str],
        *,
        max_new_tokens: int,
        stop: Sequence[str],
        noise: TellsNoise | None = None,
        raw: bool = False,
        thinking: Thinking | None = None,
    ) -> list[Response]:
        """Answer every chat greedily; see `Voice.respond`. Noise is written on: `noise` must be None."""
        assert noise is None
        rows = tokens_of(self._tokenizer, chats, head_of(self._tokenizer, raw=raw))
        continued = functools.partial(self._continued, count=len(rows))
        return responses(continued, self._tokenizer, rows, thinking, max_new_tokens=max_new_tokens, ending=Ending(stop))

    def _continued(
        self, rows: Mapping[int, Sequence[int]], max_new_tokens: int, ending: Ending, *, special: bool, count: int
    ) -> dict[int, Continuation]:
        """Continue rows of `count` prompts; see `stages.Continuing`."""
        from vllm import SamplingParams

        sampling = SamplingParams(
            temperature=0.0,
            repetition_penalty=self._repetition_penalty,
            max_tokens=max_new_tokens,
            stop=list(ending.stop) or None,
            stop_token_ids=sorted(self._ends),
            ignore_eos=True,
            skip_special_tokens=not special,
        )
        found = self._generate(rows, sampling, count)
        return {number: self._continuation(given.outputs[0]) for number, given in zip(rows, found, strict=True)}

    def loglikelihood(self, requests: Sequence[tuple[str, str]], *, raw: bool = True) -> list[Likelihood]:
        """Score continuations after their contexts; see `Voice.loglikelihood`."""
        head = head_of(self._tokenizer, raw=raw)
        return self._likelihoods([request_of(self._tokenizer, *request, head) for request in requests])

    def openings(self, chats: Sequence[str], openings: Sequence[Sequence[str]]) -> list[list[Scored]]:
        """Score texts that an answer may begin with; see `ScoresOpenings.openings`."""
        wanted = opening_requests(self._tokenizer, chats, openings)
        likelihoods = self._likelihoods([request for some in wanted for request in some])
        found = iter(Scored(each.log_probability, each.tokens) for each in likelihoods)
        return [[next(found) for _ in some] for some in wanted]

    def _likelihoods(self, wanted: Sequence[Request]) -> list[Likelihood]:
        return [
            Likelihood(sum(float(token.logprob) for token in some), len(some), all(token.rank == 1 for token in some))
            for some in self._scored(wanted)
        ]

    def fingerprint(self) -> str:
        """Return the fingerprint of the origin's weights as vLLM gets them."""
        (fingerprint,) = set(self._each("safescape_fingerprint", self._origin))
        return str(fingerprint)

    def close(self) -> str:
        """Return to the origin, whose logits are checked too, and shut vLLM down; see `Engine.close`."""
        end = super().close()
        if not torch.equal(self._logits(), self._logits_at_start):
            raise RunError("the model did not return to its origin: its logits are not those at the start")
        self._llm.llm_engine.engine_core.shutdown()
        return end

    def _each(self, method: str, *arguments: object) -> list[Any]:
        """Call a method of every worker and return what each returns."""
        found: list[Any] = self._llm.collective_rpc(method, args=arguments)
        return found

    def _shares(self, shapes: Mapping[str, torch.Size]) -> dict[int, Share]:
        """Return the share of each rank, found by loading the origin."""
        needed = dict(self._each("safescape_needed", self._origin))
        ranks = sorted(needed)
        return dict(zip(ranks, shares_of(shapes, [needed[rank] for rank in ranks]), strict=True))

    def _generate(self, rows: Mapping[int, Sequence[int]], sampling: Any, count: int) -> list[Any]:
        """Continue rows by the number of their prompt; of `count` prompts, equal parts belong to the points."""
        prompts = [{"prompt_token_ids": list(row)} for row in rows.values()]
        if self._adapters is None:
            return self._llm.generate(prompts, sampling, use_tqdm=False)
        each = count // len(self._points)
        adapters = [self._adapters.request(self._points[number // each]) for number in rows]
        return self._llm.generate(prompts, sampling, use_tqdm=False, lora_request=adapters)

    def _continuation(self, output: Any) -> Continuation:
        tokens = list(output.token_ids)
        if isinstance(output.stop_reason, str):
            return Continuation(tokens, Finish.SETTLED)
        if tokens and tokens[-1] in self._ends:
            tokens = tokens[:-1]
        return Continuation(tokens, Finish.LENGTH if output.finish_reason == "length" else Finish.STOP)

    def _scored(self, requests: Sequence[Request]) -> list[list[Any]]:
        """Return vLLM's log-probability of each token of each continuation."""
        from vllm import SamplingParams

        whole = [[*request.context, *request.continuation] for request in requests]
        sampling = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0)
        found = self._generate(dict(enumerate(whole)), sampling, len(whole))
        return [
            [given.prompt_logprobs[place][tokens[place]] for place in range(len(request.context), len(tokens))]
            for given, tokens, request in zip(found, whole, requests, strict=True)
        ]

    def _logits(self) -> Tensor:
        tokens = [number % self._vocabulary for number in range(1, 17)]
        (there,) = self._scored([Request(tokens[:1], tokens[1:])])
        return torch.tensor([token.logprob for token in there], dtype=torch.float64)


def _shapes(model: Model) -> dict[str, torch.Size]:
    """Return the shapes of the tensors that move, which are the parameters in transformers, tied ones once."""
    check_whole(model.weights)
    for stored, live in model.weights.inventory.parameters.items():
        # vLLM reads a tied head under the embedding's name alone.
        if stored.rpartition(".")[0].rpartition(".")[2] != live.rpartition(".")[0].rpartition(".")[2]:
            raise InputError(
                f"{model.name}: stores {live} under the name {stored} alone, which vLLM does not read; give --engine "
                "transformers"
            )
    return {name: model.weights.tensor(name).shape for name in model.weights.names()}
