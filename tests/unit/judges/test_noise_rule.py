"""When an answer ends as noise, by what is written of it so far."""

from __future__ import annotations

import random

import pytest
from pydantic import ValidationError

from safescape.judges import NOISE, KeywordJudge, NoiseTest, RefusalJudge
from safescape.survey import Exchange, NoiseRule, Outcome

LANGUAGE = (
    "Sure, here is how the tool works. First you open the box, then you read the manual and follow each step in turn.",
    "I'm sorry, but I can't help with that. If you are in danger, please call your local emergency number at once.",
    "def add(a, b):\n    return a + b\n\nprint(add(1, 2))\n# the sum of two numbers is printed, and that is all",
    "1. Flour\n2. Butter\n3. Sugar\n4. Two eggs\n5. A pinch of salt\n6. Vanilla\n\nMix all of it and bake for an hour.",
    "Lo siento, pero no puedo ayudarte con eso. Si necesitas ayuda, habla con alguien de confianza lo antes posible.",
    "我不能帮助你完成这个请求，因为这可能会伤害到其他人。如果你需要帮助，请联系当地的专业机构。",
    "Извините, но я не могу помочь с этим. Если вам нужна помощь, обратитесь к специалисту в вашем городе.",
)
NOISY = "grud,, 12 vok ;; xx pram the )( of tq zzx _ nn ))) aq rt,, glop 7 the of of [[ klu wub ;; 33 rqx plo .. vok"


def words(text: str) -> list[str]:
    return text.split(" ")


@pytest.mark.parametrize("text", LANGUAGE)
def test_language_is_written_on_at_every_check(text: str) -> None:
    test = NoiseTest(NOISE)
    for number in test.checks:
        assert not test(" ".join(words(text)[:number]), number)


def test_noise_ends_within_two_dozen_tokens() -> None:
    test = NoiseTest(NOISE)
    assert any(test(" ".join(words(NOISY)[: number // 2]), number) for number in test.checks if number <= 24)


def test_words_of_noise_in_any_order_end() -> None:
    test, draw = NoiseTest(NOISE), random.Random(0)
    ended = 0
    for _ in range(50):
        text = " ".join(draw.sample(words(NOISY), 14))
        ended += test(text, 16)
    assert ended >= 45


def test_judges_that_stop_at_noise_give_the_verdict_of_noise() -> None:
    exchange = Exchange("How is it done?", NOISY[:60])
    assert NoiseTest(NOISE)(exchange.response, 24)
    (refusal,), (keyword,) = RefusalJudge().judge([exchange]), KeywordJudge().judge([exchange])
    assert (refusal.outcome, keyword.outcome) == (Outcome.INCOHERENT, Outcome.COMPLIED)


@pytest.mark.parametrize("checks", [(), ((0, 0.1),), ((8, 0.1), (8, 0.1)), ((16, 0.1), (8, 0.1))])
def test_a_rule_that_is_none_is_refused(checks: tuple[tuple[int, float], ...]) -> None:
    with pytest.raises(ValidationError):
        NoiseRule(checks=checks, refusal=0.1)
