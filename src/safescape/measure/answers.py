"""Ask a probe where the engine's weights are: answers to its prompts, or scores of its items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from safescape.engines import Voice
from safescape.judges import Judge, common_stop
from safescape.probes import Answering, harness_scores
from safescape.survey import Answer, ChoiceProbe, Exchange, HarnessProbe, PerplexityProbe, Score


def ask(
    voice: Voice,
    chats: Sequence[str],
    prompts: Sequence[str],
    judges: Mapping[str, Judge],
    *,
    max_new_tokens: int,
    whole_answers: bool = False,
) -> list[Answer]:
    """Answer prompts, and return one judged answer each, in their order.

    Args:
        voice: Generates the answers.
        chats: By prompt, the text that the model reads.
        prompts: As the judges read them.
        judges: By name; empty if all of them judge later.
        max_new_tokens: Maximum number of tokens of an answer.
        whole_answers: Generate every answer to its end, even if the judges can tell earlier.

    """
    stop = () if whole_answers else common_stop([judge.stop for judge in judges.values()])
    responses = voice.respond(chats, max_new_tokens=max_new_tokens, stop=stop)
    exchanges = [Exchange(prompt, response.text) for prompt, response in zip(prompts, responses, strict=True)]
    verdicts = {name: judge.judge(exchanges) for name, judge in judges.items()}
    return [
        Answer(response, {name: given[number] for name, given in verdicts.items()})
        for number, response in enumerate(responses)
    ]


def score(voice: Voice, probe: ChoiceProbe | PerplexityProbe | HarnessProbe, *, max_new_tokens: int) -> list[Score]:
    """Score a capability probe's items, in their order.

    `max_new_tokens` limits the answers to a task of lm-eval that sets no limit of its own.
    """
    if isinstance(probe, HarnessProbe):
        return harness_scores(probe, _answering(voice, max_new_tokens))
    if isinstance(probe, PerplexityProbe):
        found = voice.loglikelihood([("", text) for text in probe.texts])
        return [Score(-likelihood.log_probability, likelihood.tokens) for likelihood in found]
    requests = [(question.context, option) for question in probe.questions for option in question.options]
    likelihoods = iter(voice.loglikelihood(requests))
    scores = []
    for question in probe.questions:
        options = [next(likelihoods).log_probability for _ in question.options]
        scores.append(Score(float(options.index(max(options)) == question.answer), 1))
    return scores


def _answering(voice: Voice, max_new_tokens: int) -> Answering:
    """Wrap a voice in the calls that lm-eval makes."""

    def loglikelihood(requests: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        return [(found.log_probability, found.greedy) for found in voice.loglikelihood(requests)]

    def generate(text: str, tokens: int, stop: Sequence[str]) -> str:
        (response,) = voice.respond([text], max_new_tokens=tokens, stop=stop)
        return response.text

    return Answering(loglikelihood, generate, max_new_tokens)
