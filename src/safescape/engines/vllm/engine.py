"""The vLLM engine: vLLM holds the live model and answers; its weights move as in the transformers engine.

vLLM packs weights for its kernels, so the live ones cannot be read back by the checkpoint's names. The fingerprint is
that of the weights passed to vLLM, which equals the transformers engine's for the same dtype. The log-probabilities of
a fixed text show that these weights answer: they must change with a move and be bit-equal after the return.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerBase

from safescape.engines.loading import load_config, load_generation_config, loading
from safescape.engines.loglikelihood import Likelihood, Request
from safescape.engines.parameters import parameters_of
from safescape.engines.speaker import end_tokens, request_of, text_of
from safescape.engines.vllm.launch import TokenCounts, check_vllm, explain, open_vllm, settings_of
from safescape.engines.vllm.lora import LoadedAdapters
from safescape.errors import InputError, RunError
from safescape.survey import Finish, Point, Position, Response
from safescape.weights import Model, Space


class VllmEngine:
    """Holds the live model in vLLM, moves it to a point, and answers and scores there.

    Args:
        model: The model's files and the origin's weights.
        tokenizer: The model's tokenizer.
        subspace: Maps a point's coordinates to directions.
        dtype: The dtype of the live weights.
        device: `cpu`, or a GPU.
        batch_size: The maximum number of answers decoded together.
        counts: The numbers of tokens that vLLM must have room for.
        gpus: The number of GPUs that share the model by tensor parallelism.
        adapters: The adapters of the points, no weight moves. None: weights move.
        trust_remote_code: Whether the model may run its own code.

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
    ) -> None:
        check_vllm()
        self._start, self._tokenizer = subspace.origin, tokenizer
        self._adapters = adapters
        self._points: tuple[Point, ...] = (subspace.origin,)
        config = load_config(model, trust_remote_code=trust_remote_code)
        shapes = _shapes(model, config, trust_remote_code=trust_remote_code)
        text = config.get_text_config()
        self._ends = end_tokens(tokenizer, load_generation_config(model, config))
        self._vocabulary = int(text.vocab_size)
        settings = settings_of(
            model, text, dtype, device, batch_size, counts, gpus, trust_remote_code=trust_remote_code
        )
        if adapters is not None:
            settings |= adapters.settings
        self._llm = open_vllm(model, settings)
        self._all("safescape_prepare", model.weights, subspace, shapes, dtype)
        if adapters is None:
            self._return()
        self.fingerprint_at_start = self._fingerprint()
        try:
            self._canary_at_start = self._canary_log_probabilities()
        except RuntimeError as error:
            # A kernel that does not support the model fails only when it runs.
            raise InputError(explain(model, error, settings)) from error

    def move_to(self, point: Point) -> Position:
        """Move the live weights, and empty vLLM's prefix cache; see `TransformersEngine.move_to`.

        With adapters no weight moves; the point's adapter is selected.

        Returns:
            The position of the rounded weights; see `Moving.position`.

        """
        (position,) = self.stand_at([point])
        return position

    def stand_at(self, points: Sequence[Point]) -> list[Position]:
        """Move to several points at once; without adapters to one point only.

        Until the next move, prompts are passed in equal parts: the first part is answered at the first point, and so
        on, all in one batch. The origin, which has no adapter, must be alone: on a CPU, vLLM applies the adapter of
        its last slot to a request without one in a mixed batch.

        Returns:
            The position of each point; see `move_to`.

        """
        if len(points) > 1 and (self._adapters is None or any(point.is_origin for point in points)):
            raise ValueError(f"cannot stand at {len(points)} points at once: weights are moved, or one is the origin")
        if self._adapters is None:
            positions = [self._all("safescape_move", point) for point in points]
        else:
            positions = self._adapters.load(self._llm, points)
        self._points = tuple(points)
        if not self._llm.reset_prefix_cache():
            raise RunError("vLLM did not empty its prefix cache after a move; report this with the model's name")
        return positions

    def respond(self, chats: Sequence[str], *, max_new_tokens: int, stop: Sequence[str]) -> list[Response]:
        """Answer every chat greedily; see `Speaker.respond`."""
        from vllm import SamplingParams

        tokens = self._tokenizer(list(chats), add_special_tokens=False)["input_ids"]
        sampling = SamplingParams(
            temperature=0.0,
            max_tokens=max_new_tokens,
            stop=list(stop) or None,
            stop_token_ids=sorted(self._ends),
            ignore_eos=True,
        )
        return [self._response(given.outputs[0]) for given in self._generate(tokens, sampling)]

    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Score continuations after their contexts; see `Speaker.loglikelihood`."""
        wanted = [request_of(self._tokenizer, *request) for request in requests]
        return [_likelihood(request, there) for request, there in zip(wanted, self._scored(wanted), strict=True)]

    def canary(self, point: Point) -> None:
        """Check that moving works; see `TransformersEngine.canary`.

        Raises:
            RunError: The log-probabilities do not differ, or are not bit-equal.

        """
        self.move_to(point)
        away = self._canary_log_probabilities()
        self._return()
        if away == self._canary_at_start:
            raise RunError(
                f"moving the weights to {point.coords} changed no logit: this model does not use its weights"
            )
        if self._canary_log_probabilities() != self._canary_at_start:
            raise RunError("moving the weights away and back changed the logits: this model cannot be measured")

    def close(self) -> str:
        """Return to the origin, shut vLLM down, and return the fingerprint, which must equal `fingerprint_at_start`.

        Raises:
            RunError: The fingerprint, or the log-probabilities at the origin, differ from those at the start.

        """
        self._return()
        end = self._fingerprint()
        if end != self.fingerprint_at_start:
            raise RunError(f"the model did not return to its origin: {self.fingerprint_at_start} became {end}")
        if self._canary_log_probabilities() != self._canary_at_start:
            raise RunError("the model did not return to its origin: its logits are not those at the start")
        self._llm.llm_engine.engine_core.shutdown()
        return end

    def _return(self) -> None:
        self.move_to(self._start)

    def _fingerprint(self) -> str:
        return self._all("safescape_fingerprint", self._start)

    def _all(self, method: str, *arguments: object) -> Any:
        """Call a method of every worker; all return the same."""
        return self._llm.collective_rpc(method, args=arguments)[0]

    def _generate(self, tokens: Sequence[Sequence[int]], sampling: Any) -> list[Any]:
        prompts = [{"prompt_token_ids": list(prompt)} for prompt in tokens]
        if self._adapters is None:
            return self._llm.generate(prompts, sampling, use_tqdm=False)
        each = len(prompts) // len(self._points)
        adapters = [request for request in map(self._adapters.request, self._points) for _ in range(each)]
        return self._llm.generate(prompts, sampling, use_tqdm=False, lora_request=adapters)

    def _response(self, output: Any) -> Response:
        tokens = list(output.token_ids)
        if isinstance(output.stop_reason, str):
            return Response(text_of(self._tokenizer, tokens), Finish.SETTLED, len(tokens))
        finish = Finish.LENGTH if output.finish_reason == "length" else Finish.STOP
        if tokens and tokens[-1] in self._ends:
            tokens = tokens[:-1]
        return Response(text_of(self._tokenizer, tokens), finish, len(tokens))

    def _scored(self, requests: Sequence[Request]) -> list[list[Any]]:
        """Return vLLM's log-probability of each token of each request; None for the first token."""
        from vllm import SamplingParams

        whole = [[*request.context, *request.continuation] for request in requests]
        found = self._generate(whole, SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0))
        return [
            [None, *(there[token] for there, token in zip(given.prompt_logprobs[1:], tokens[1:], strict=True))]
            for given, tokens in zip(found, whole, strict=True)
        ]

    def _canary_log_probabilities(self) -> list[float]:
        """Return the log-probabilities of fixed tokens."""
        tokens = [number % self._vocabulary for number in range(1, 17)]
        (there,) = self._scored([Request(tokens[:1], tokens[1:])])
        return [token.logprob for token in there[1:]]


def _likelihood(request: Request, there: Sequence[Any]) -> Likelihood:
    scored = there[len(request.context) :]
    return Likelihood(
        sum(float(token.logprob) for token in scored), len(scored), all(token.rank == 1 for token in scored)
    )


def _shapes(model: Model, config: PreTrainedConfig, *, trust_remote_code: bool) -> dict[str, torch.Size]:
    """Return the shapes of the tensors that move, which are the parameters in transformers, tied ones once."""
    with loading(model.name), torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    return {name: parameter.shape for name, parameter in parameters_of(empty, model.weights).items()}
