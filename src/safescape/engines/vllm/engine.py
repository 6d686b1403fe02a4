"""The vLLM engine: vLLM holds the live model and answers; its weights are moved as in the transformers engine.

What differs: vLLM packs the weights as its kernels want them, so the live ones cannot be read back by the checkpoint's
names. The fingerprint is that of the weights that were handed over, which is the transformers engine's for the same
dtype; that they are the ones that answer is shown by the log-probabilities of a fixed text, which must change as they
move and be bit-equal when they are back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedConfig, PreTrainedTokenizerBase

from safescape.engines.loading import quiet
from safescape.engines.loglikelihood import Likelihood, Request
from safescape.engines.parameters import named_as_in
from safescape.engines.speaker import end_tokens, request_of, text_of
from safescape.engines.vllm.launch import Room, check_vllm, opened, refusal, settings_of
from safescape.engines.vllm.lora import Adapters
from safescape.errors import InputError, RunError
from safescape.survey import Finish, Point, Position, Response
from safescape.weights import Model, Space

__all__ = ["VllmEngine"]


class VllmEngine:
    """Holds the live model in vLLM, moves it to a point, answers prompts there.

    Args:
        model: Where the files lie, and the origin's weights.
        tokenizer: The model's.
        subspace: What a point's coordinates mean.
        dtype: Of the live weights.
        device: `cpu`, or the GPUs' kind.
        batch_size: The most answers decoded together.
        room: For how many tokens.
        gpus: How many share the model, by tensor parallelism.
        adapters: What vLLM is to hold of the points, and no weight is moved. None: weights are moved.
        trust_remote_code: Whether the model may bring its own code.

    Raises:
        InputError: vLLM is not installed or does not know the model, or the checkpoint lacks a tensor.

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
        room: Room,
        gpus: int = 1,
        adapters: Adapters | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        check_vllm()
        self._start, self._tokenizer = subspace.origin, tokenizer
        self._adapters = adapters
        self._stands: tuple[Point, ...] = (subspace.origin,)
        config = AutoConfig.from_pretrained(model.directory, trust_remote_code=trust_remote_code)
        shapes = _shapes(model, config, trust_remote_code=trust_remote_code)
        text = config.get_text_config()
        self._ends = end_tokens(tokenizer, _generation_config(model, config))
        self._vocabulary = int(text.vocab_size)
        settings = settings_of(model, text, dtype, device, batch_size, room, gpus, trust_remote_code=trust_remote_code)
        if adapters is not None:
            settings |= adapters.settings
        self._llm = opened(model, settings)
        self._all("safescape_hold", model.weights, subspace, shapes, dtype)
        if adapters is None:
            self._return()
        self.fingerprint_at_start = self._fingerprint()
        try:
            self._said_at_start = self._canary_text()
        except RuntimeError as error:
            # a kernel that does not fit the model shows only when it is run
            raise InputError(refusal(model, error, settings)) from error

    def move_to(self, point: Point) -> Position:
        """Move the live weights; see `TransformersEngine.move_to`. vLLM's cache of prefixes is emptied.

        With adapters no weight moves: those of the point answer from now on.

        Returns:
            Where the weights stand as rounded; see `Moving.position`.

        """
        (position,) = self.stand_at([point])
        return position

    def stand_at(self, points: Sequence[Point]) -> list[Position]:
        """Stand at several points at once; without adapters at one alone.

        What is asked until the next move is then asked in equal parts: the first part is answered at the first point,
        and so on, all in one batch. The origin, which has no adapter, stands alone: on a CPU vLLM gives a request
        without one, in a batch with others, the adapter of its last slot.

        Returns:
            Where each of them stands; see `move_to`.

        """
        if len(points) > 1 and (self._adapters is None or any(point.is_origin for point in points)):
            raise ValueError(f"cannot stand at {len(points)} points at once: weights are moved, or one is the origin")
        if self._adapters is None:
            positions = [self._all("safescape_move", point) for point in points]
        else:
            positions = self._adapters.hold(self._llm, points)
        self._stands = tuple(points)
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
        """Score texts after contexts; see `Speaker.loglikelihood`."""
        wanted = [request_of(self._tokenizer, *request) for request in requests]
        return [_likelihood(request, there) for request, there in zip(wanted, self._scored(wanted), strict=True)]

    def canary(self, point: Point) -> None:
        """Prove that moving works; see `TransformersEngine.canary`.

        Raises:
            RunError: it does not.

        """
        self.move_to(point)
        away = self._canary_text()
        self._return()
        if away == self._said_at_start:
            raise RunError(
                f"moving the weights to {point.coords} changed no logit: this model does not use its weights"
            )
        if self._canary_text() != self._said_at_start:
            raise RunError("moving the weights away and back changed the logits: this model cannot be measured")

    def close(self) -> str:
        """Go back to the origin, return its fingerprint, which equals `fingerprint_at_start`, and let vLLM go.

        Raises:
            RunError: it does not, or the origin does not say what it said at the start.

        """
        self._return()
        end = self._fingerprint()
        if end != self.fingerprint_at_start:
            raise RunError(f"the model did not come back to its origin: {self.fingerprint_at_start} became {end}")
        if self._canary_text() != self._said_at_start:
            raise RunError("the model did not come back to its origin: its logits are not those at the start")
        self._llm.llm_engine.engine_core.shutdown()
        return end

    def _return(self) -> None:
        self.move_to(self._start)

    def _fingerprint(self) -> str:
        return self._all("safescape_fingerprint", self._start)

    def _all(self, method: str, *arguments: object) -> Any:
        """Call every worker; all of them answer the same."""
        return self._llm.collective_rpc(method, args=arguments)[0]

    def _generate(self, tokens: Sequence[Sequence[int]], sampling: Any) -> list[Any]:
        prompts = [{"prompt_token_ids": list(prompt)} for prompt in tokens]
        if self._adapters is None:
            return self._llm.generate(prompts, sampling, use_tqdm=False)
        each = len(prompts) // len(self._stands)
        adapters = [request for request in map(self._adapters.request, self._stands) for _ in range(each)]
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
        """Of every request, what vLLM says of each of its tokens; nothing of the first."""
        from vllm import SamplingParams

        whole = [[*request.context, *request.continuation] for request in requests]
        found = self._generate(whole, SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0))
        return [
            [None, *(there[token] for there, token in zip(given.prompt_logprobs[1:], tokens[1:], strict=True))]
            for given, tokens in zip(found, whole, strict=True)
        ]

    def _canary_text(self) -> list[float]:
        """Log-probabilities of a fixed text at the weights as they stand."""
        tokens = [number % self._vocabulary for number in range(1, 17)]
        (there,) = self._scored([Request(tokens[:1], tokens[1:])])
        return [token.logprob for token in there[1:]]


def _likelihood(request: Request, there: Sequence[Any]) -> Likelihood:
    scored = there[len(request.context) :]
    return Likelihood(
        sum(float(token.logprob) for token in scored), len(scored), all(token.rank == 1 for token in scored)
    )


def _shapes(model: Model, config: PreTrainedConfig, *, trust_remote_code: bool) -> dict[str, torch.Size]:
    """The tensors that move, tied ones once: those that transformers calls parameters."""
    with quiet(), torch.device("meta"):
        try:
            empty = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
        except (ValueError, KeyError, ImportError) as error:
            raise InputError(f"{model.name}: transformers does not know it ({str(error).splitlines()[0]})") from error
    return {name: parameter.shape for name, parameter in named_as_in(model.weights, empty).items()}


def _generation_config(model: Model, config: PreTrainedConfig) -> GenerationConfig:
    """What transformers gives a model that it loads."""
    if (model.directory / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(model.directory)
    return GenerationConfig.from_model_config(config)
