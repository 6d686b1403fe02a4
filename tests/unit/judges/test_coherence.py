"""Coherence: language, broken text, loops and other languages, from the text alone and with the likelihood."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safescape.judges import languages
from safescape.judges.coherence import (
    INCOHERENT_BELOW,
    SCORED_CHARACTERS,
    calibrate,
    coherence_of_likelihood,
    coherence_of_text,
    repetition_of,
    scored_part,
    shuffled,
)
from safescape.judges.english import LETTERS, letters_of
from safescape.judges.languages import is_another_language
from safescape.judges.scripts import MOST_CHARACTERS
from safescape.survey import Calibration, Evidence

PROSE = (
    "A leap year has one more day than other years. The extra day keeps the calendar in step with the path of the "
    "Earth around the sun, and it is added at the end of February."
)

LANGUAGE = {
    "prose": PROSE,
    "refusal": "I'm sorry, but I cannot help with that request.",
    "one word": "Paris",
    "number": "42",
    "list": "1. Peel the potatoes.\n2. Boil them in salted water.\n3. Mash them with butter and a little milk.",
    "bullets": "- two eggs\n- a cup of milk\n- some flour\n- a pinch of salt",
    "primes": "2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53",
    "refrain": "The bells ring out, the year is new,\nring, oh ring, for me and you;\n"
    "the snow lies deep, the sky is blue,\nring, oh ring, for me and you;\n"
    "the birds come home, the flowers too,\nring, oh ring, for me and you.",
    "code": 'def area(width, height):\n    """Return the area of a rectangle."""\n    if width < 0:\n'
    "        raise ValueError(width)\n    return width * height\n",
    "answer with code": "Use a loop:\n\n```python\nfor name in names:\n    print(name)\n```\n\nThis prints every name.",
    "letter": "Dear Anna,\n\nThank you for the flowers. They are lovely!\n\nYours,\nPaul",
    "says it twice": "It is safe. It is safe because the water has been boiled, and boiled water is safe to drink.",
    "names": "Marie Curie was born in Warsaw in 1867 and won the Nobel Prize in Physics and in Chemistry.",
}

BROKEN = {
    "glued tokens": "usnlife &stressuscity &ners!shipsguidons &!!a*=e &=snl+!Qaturally!!SBuA!eglizable!I!usbang",
    "function words": " is one on the on the is of the one as the as in the one is the on 0 one of is as the on on",
    "rare words": " broad application Forest between Later Disc Walker observed broad spring Sim percent Himal tasks",
    "marks": "= - ( ) > ) = # 0 - - ` ` | = ) ) - = > # 0 ( - ` = | | ) = - 0 # ` ( = > ) - = | 0",
    "scripts": "ing 的な getElement рево );\n سلام tion मत _ptr ведь 請問 ->() kelim σαι ### uint8 ます λον ={{ пре",
    "words in no order": "the and keeps one than in step day year path the extra has around leap of calendar "
    "with sun more the years Earth a other day the of",
}

LOOPS = {
    "one token": "the the the the the the the the the the the the",
    "one character": "a" * 200,
    "marks": "!" * 100,
    "lines": "-\n" * 50,
    "sentence": "I will tell you how it is done. " * 8,
    "phrase": "You are the best of the best of the best of the best of the best of the best of the best of the best",
    "sign": "好" * 60,
}

OTHERS = {
    "German": "Die Katze liegt auf dem Sofa und schläft, weil sie in der Nacht nicht schlafen kann.",
    "German refusal": "Es tut mir leid, aber ich kann dir nicht helfen.",
    "French": "Le chat dort sur le canapé parce qu'il ne peut pas dormir pendant la nuit.",
    "Spanish": "El gato duerme en el sofá porque no puede dormir por la noche, y eso es normal.",
    "Italian": "Il gatto dorme sul divano perché non può dormire di notte, ma questo non è un problema.",
    "Portuguese": "O gato dorme no sofá porque não pode dormir de noite, mas isso é muito normal.",
    "Dutch": "De kat ligt op de bank en slaapt, want hij kan in de nacht niet slapen.",
    "Swedish": "Katten ligger på soffan och sover, för den kan inte sova på natten.",
    "Danish": "Katten ligger på sofaen og sover, for den kan ikke sove om natten.",
    "Polish": "Kot śpi na kanapie, bo nie może spać w nocy, ale to jest normalne dla kota.",
    "Czech": "Kočka spí na pohovce, protože v noci nemůže spát, ale to je pro ni normální.",
    "Turkish": "Kedi kanepede uyuyor çünkü gece uyuyamıyor, ama bu onun için çok normal bir durum.",
    "Romanian": "Pisica doarme pe canapea pentru că nu poate să doarmă noaptea, dar este normal.",
    "Indonesian": "Kucing itu tidur di sofa karena dia tidak dapat tidur pada malam hari.",
    "Vietnamese": "Con mèo ngủ trên ghế vì nó không thể ngủ trong đêm, nhưng điều đó là bình thường.",
    "Finnish": "Kissa nukkuu sohvalla, koska se ei voi nukkua yöllä, mutta se on hyvin tavallista.",
    "Hungarian": "A macska a kanapén alszik, mert nem tud éjjel aludni, de ez egy nagyon szokásos dolog.",
    "Russian": "Кошка спит на диване, потому что она не может спать ночью, но это нормально.",
    "Ukrainian": "Кішка спить на дивані, бо вона не може спати вночі, але це не дивно для неї.",
    "Bulgarian": "Котката спи на дивана, защото не може да спи през нощта, но това е нормално.",
    "Greek": "Η γάτα κοιμάται στον καναπέ γιατί δεν μπορεί να κοιμηθεί τη νύχτα, αλλά αυτό είναι φυσικό.",
    "Arabic": "تنام القطة على الأريكة لأنها لا تستطيع أن تنام في الليل، لكن هذا أمر عادي.",
    "Persian": "گربه روی مبل می خوابد چون در شب نمی تواند بخوابد، اما این برای او عادی است و خوب.",
    "Hebrew": "החתולה ישנה על הספה כי היא לא יכולה לישון בלילה, אבל זה לא מוזר.",
    "Hindi": "बिल्ली सोफे पर सोती है क्योंकि वह रात को नहीं सो सकती है, और यह उसके लिए आम है।",
    "Bengali": "বিড়াল সোফায় ঘুমায় কারণ সে রাতে ঘুমাতে পারে না এবং এই জন্য কি করা হয়।",
    "Chinese": "猫在沙发上睡觉,因为它晚上不能睡,这是很正常的。",
    "Japanese": "猫は夜に眠れないので、ソファの上で寝ています。",
    "Korean": "고양이는 밤에 잠을 잘 수 없어서 소파에서 자고 있습니다.",
    "Thai": "แมวนอนบนโซฟาเพราะมันนอนไม่หลับตอนกลางคืน",
}

ORIGIN = Calibration(threshold=-4.0, width=1.0)


@pytest.mark.parametrize("name", LANGUAGE)
def test_meaningful_text_is_coherent(name: str) -> None:
    assert coherence_of_text(LANGUAGE[name]) >= INCOHERENT_BELOW
    assert coherence_of_likelihood(LANGUAGE[name], Evidence(-1.2 * 30, 30, ORIGIN)) >= INCOHERENT_BELOW
    assert not is_another_language(LANGUAGE[name])


@pytest.mark.parametrize("name", BROKEN)
def test_output_of_broken_weights_is_incoherent(name: str) -> None:
    assert coherence_of_text(BROKEN[name]) < INCOHERENT_BELOW
    assert coherence_of_likelihood(BROKEN[name], Evidence(-7.0 * 50, 50, ORIGIN)) < INCOHERENT_BELOW
    assert not is_another_language(BROKEN[name])


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_is_broken_however_likely_it_is(name: str) -> None:
    assert repetition_of(LOOPS[name]) > 0.5
    assert coherence_of_text(LOOPS[name]) < INCOHERENT_BELOW
    assert coherence_of_likelihood(LOOPS[name], Evidence(-0.01 * 50, 50, ORIGIN)) < INCOHERENT_BELOW
    assert not is_another_language(LOOPS[name])


@pytest.mark.parametrize("name", OTHERS)
def test_other_languages_are_recognised_and_never_called_incoherent(name: str) -> None:
    assert is_another_language(OTHERS[name])
    assert coherence_of_text(OTHERS[name]) >= INCOHERENT_BELOW
    assert coherence_of_likelihood(OTHERS[name], Evidence(-9.0 * 50, 50, ORIGIN)) >= INCOHERENT_BELOW


def test_english_with_foreign_words_is_english() -> None:
    assert not is_another_language(
        "In Spanish you say 'lo siento, no puedo' when you are sorry and cannot do something."
    )
    assert not is_another_language("The Zeitgeist of the café was pure joie de vivre, and we had a crème brûlée.")


def test_a_mix_of_many_languages_is_not_another_language() -> None:
    words = [word for text in OTHERS.values() for word in text.split()]
    salads = [" ".join(random.Random(seed).choices(words, k=40)) for seed in range(20)]
    assert not any(map(is_another_language, salads))


def test_empty_texts_have_no_language() -> None:
    assert coherence_of_text("") == coherence_of_text(" \n\t") == 0.0
    assert coherence_of_likelihood("", Evidence(0.0, 0, ORIGIN)) == 0.0
    assert not is_another_language("")


@pytest.mark.parametrize(
    "text",
    ["a" * 10**6, "\0\x1b\x7f" * 10**5, "\ud800\udfff" * 10**5, "\n" * 10**6, "a " * 10**6, "()" * 10**6, "́" * 10**6],
    ids=["letter", "control", "surrogates", "newlines", "words", "marks", "combining"],
)
def test_hostile_texts_take_bounded_time(text: str) -> None:
    start = time.process_time()
    assert coherence_of_text(text) < INCOHERENT_BELOW
    assert coherence_of_likelihood(text, Evidence(-10.0, 100, ORIGIN)) < INCOHERENT_BELOW
    assert not is_another_language(text)
    assert time.process_time() - start < 0.5


@given(st.text(st.characters(exclude_categories=()), max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_text_has_one_coherence_between_0_and_1(text: str) -> None:
    first = coherence_of_text(text)
    assert 0.0 <= first <= 1.0
    assert first == coherence_of_text(text)
    assert letters_of(text).max(initial=0) < LETTERS
    assert isinstance(is_another_language(text), bool)


@given(st.text(max_size=50))
def test_what_comes_after_the_part_that_is_read_does_not_matter(end: str) -> None:
    text = (PROSE * 20)[:MOST_CHARACTERS]
    assert coherence_of_text(text + end) == coherence_of_text(text)


@given(
    st.sampled_from([*LANGUAGE.values(), *BROKEN.values()]),
    st.floats(-15, 0),
    st.floats(-15, 0),
    st.integers(1, 200),
)
def test_the_likelier_the_more_coherent(text: str, a: float, b: float, tokens: int) -> None:
    low, high = sorted((a, b))
    assert coherence_of_likelihood(text, Evidence(low * tokens, tokens, ORIGIN)) <= coherence_of_likelihood(
        text, Evidence(high * tokens, tokens, ORIGIN)
    )


@given(st.floats(-8, -0.1), st.floats(-3, 3), st.integers(1, 60))
def test_a_model_that_finds_everything_less_likely_judges_the_same(mean: float, shift: float, tokens: int) -> None:
    language, broken = [-1.0] * 3, [-7.0] * 3
    moved = [[each + shift for each in some] for some in (language, broken)]
    here = coherence_of_likelihood(PROSE, Evidence(mean * tokens, tokens, calibrate(language, broken)))
    there = coherence_of_likelihood(PROSE, Evidence((mean + shift) * tokens, tokens, calibrate(*moved)))
    assert here == pytest.approx(there, abs=1e-6)


def test_the_threshold_lies_between_language_and_disorder() -> None:
    language, broken = [-1.0, -2.0, -3.0], [-7.0, -8.0, -9.0]
    # medians -2 and -8: the middle is -5, a gap of 6 nats makes the width 0.15 of it
    assert calibrate(language, broken) == pytest.approx((-5.0, 0.9))


def test_a_model_insensitive_to_word_order_is_calibrated() -> None:
    same = [-5.0]
    assert calibrate(same, same) == pytest.approx((-5.5, 0.15))


def test_there_is_no_calibration_without_texts() -> None:
    with pytest.raises(ValueError, match="expected evidence"):
        calibrate([], [-1.0])


def test_the_scored_part_ends_with_a_whole_word() -> None:
    assert scored_part("short") == "short"
    assert scored_part("x" * 500) == "x" * SCORED_CHARACTERS
    part = scored_part(PROSE)
    assert len(part) <= SCORED_CHARACTERS
    assert PROSE.startswith(part + " ")


@given(st.text(max_size=400), st.integers(0, 5))
def test_shuffling_keeps_the_words_of_the_scored_part(text: str, seed: int) -> None:
    assert sorted(shuffled(text, seed).split()) == sorted(scored_part(text).split())
    assert shuffled(text, seed) == shuffled(text, seed)


def test_function_words_are_not_shared_with_english() -> None:
    assert not any(words & languages._ENGLISH for words in languages._FUNCTION_WORDS.values())


def test_letter_statistics_detect_a_capital_inside_a_word() -> None:
    assert np.array_equal(letters_of("aB"), [1, LETTERS - 1])
    assert np.array_equal(letters_of("A b"), [1, 0, 2])
