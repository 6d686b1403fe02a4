"""Detection of languages other than English, by function words and scripts.

A language is recognised by the few dozen words that every text in it uses. A mixture of tokens from many languages has
some words of each language and enough of none; a loop has few distinct words. The word lists are the project's own and
leave out words that English has too.

The thresholds were chosen on the sentences of `tests/unit/judges/test_coherence.py`, and are reported on the other
sentences of `python benchmarks/coherence.py --data DATA`, as are English texts, code and noise called another language.
"""

from __future__ import annotations

import re
from collections import Counter

from safescape.judges.apostrophes import with_straight_apostrophes
from safescape.judges.scripts import MOST_CHARACTERS, script_of

_ENOUGH = 0.18
"""The least share of a text's words that are function words of its language. They must also be more than twice as many
as English ones."""
_ENOUGH_SIGNS = 0.10
"""For scripts without spaces: the least share of letters that are among the most frequent ones of the language."""
_MOSTLY_WORDS = 0.6
"""The least share of visible characters that belong to words; between symbols, "De" and "La" mean nothing."""
_FEWEST_LETTERS = 4
"""Letters from which on a language is recognised."""

_SPACED = {
    "German": "der die das den dem des ein eine einen einem einer und oder aber nicht ich du er wir ihr sie "
    "es ist sind sein haben hat kann können wird werden mit von zu zum zur auf für im bei nach aus als auch "
    "wie dass wenn mich mir dir uns sich noch nur sehr kein keine hier ja nein bitte tut leid diese dieser "
    "dieses",
    "French": "le la les un une des du de et ou mais ne pas je tu il elle nous vous ils est sont être avoir "
    "ont avec pour dans sur par que qui ce cette ces mon ma votre vos au aux plus peut peux suis désolé oui "
    "comme bien faire très aussi si son sa ses leur d'un d'une l'eau qu'il c'est n'est j'ai",
    "Spanish": "el la los las un una unos unas del de y o pero yo tú él ella nosotros es son ser está están "
    "con para por en que se su sus lo al más puede puedo como muy también sí este esta estos mi te le les "
    "siento eso ese hay cuando porque ayudar tiene desde hasta fue nos nadie nada sobre ni ya aquí esa esos "
    "donde quien debe aunque todo todos cada nunca después antes luego tu tus hace hacer han algo otra otro "
    "otros dos sea",
    "Italian": "il lo la gli le uno una di del della dei delle e ed ma non io tu lui lei noi è sono essere "
    "ha hanno con per nel nella che chi si su più può posso come molto anche questo questa mi ti dispiace sì "
    "quando perché ogni dal dalla alla al agli",
    "Portuguese": "os uma uns umas do da dos das de em no na nos nas e ou mas não eu você ele ela nós é são "
    "ser está com para por que se seu sua mais pode posso como muito também sim este esta isso meu minha "
    "desculpe quando porque ao à pelo pela tem foi quem ninguém nem já ainda há vou essa esse aqui depois "
    "antes numa num pelos sem até tudo nada cada lhe outra outro dois seja fazer",
    "Dutch": "het een de en maar niet ik jij je hij zij wij jullie zijn heeft hebben kan kunnen wordt worden "
    "met van naar voor bij uit als ook dat dit deze die wat er nog zeer geen graag ja nee om te op aan door "
    "over mijn uw",
    "Swedish": "och att det är en ett som på av för med inte jag du han hon vi kan har till den de om från "
    "eller men så ska mycket också detta mig dig sig när där utan",
    "Danish": "og at det er en et som på af til med ikke jeg du han hun vi kan har den de om fra eller men "
    "så skal meget også dette mig dig sig når der uden hvis",
    "Polish": "i w nie się na jest to że z do jak ale lub czy są ten ta tego tej dla po od przez przy być "
    "można może mogę ja ty on ona my bardzo także oraz który która które jego jej tak trzeba potem jeśli "
    "tylko już bez pod będzie jednak gdy co tym je",
    "Czech": "a se na je že v s z do jak ale nebo jsou ten ta to pro po od při být může mohu já ty on ona my "
    "velmi také který která které není si tak aby když",
    "Turkish": "ve bir bu için ile de da ne ama çok daha gibi var yok ben sen o biz siz değil olarak olan en "
    "her mi mı ki kadar sonra veya ancak",
    "Romanian": "și în de la cu pe nu un este sunt că se din care mai pentru să ca dar sau o al ale lui ei "
    "eu tu noi foarte acest această poate pot",
    "Indonesian": "yang dan di ke dari untuk dengan tidak ini itu adalah pada saya anda kami kita akan dapat "
    "bisa atau juga dalam oleh karena lebih sebagai ada jika",
    "Vietnamese": "và của là có không tôi bạn cho một các được trong với những này đó để khi người thể nhưng "
    "hoặc rất cũng từ đến về sẽ",
    "Finnish": "ja on ei se että hän minä sinä me te he ovat oli mutta tai kun jos niin myös tämä voi voin "
    "kuin joka ole sen hyvin vain",
    "Hungarian": "a az és nem hogy egy van is de vagy ez azt én te ő mi csak meg már mint nagyon lehet kell "
    "ha aki ami volt lesz el",
    "Russian": "и в не на что я с он она оно мы вы они как это по но из у за от так же для к до если или бы "
    "о мой ваш его ее её их быть есть может могу можно также при очень этот эта эти все который которые чтобы "
    "нет был была было были вот уже когда вас вам мне меня них нём ней том этого этом того тем нужно потому "
    "после ещё даже кто ни ли со во об только себя чем где там сначала потом раз под над",
    "Ukrainian": "і в не на що я з він вона ми ви вони як це по але із у за від так же для до якщо або би "
    "про бути є може можу також при дуже цей ця ці всі який які щоб та",
    "Bulgarian": "и в не на че аз с той тя ние вие те как това по но от у за до ако или бих да се ще може "
    "също при много този тази тези всички който които е са",
    "Greek": "και το η ο να του της την τον οι τα των με σε για που δεν είναι από στο στη στην θα ένα μια "
    "αυτό ως ή αλλά μπορώ μπορεί πολύ",
    "Arabic": "في من على إلى أن لا ما هذا هذه ذلك التي الذي عن مع كان كانت هو هي أنا أنت نحن أو و ثم قد لم "
    "لن إن كل يمكن يمكنني بعد قبل حتى بين لكن إذا كما يا هناك ليس ولا أي به له لها فيه منه عليه لك لي عند بعض "
    "وهو وهي تكون يكون يجب غير أحد نفس عندما لأن لأنه بها أكثر سوف أنه أنك إنه أولًا عليك شيء أمس فيها فيك "
    "لهذا بهذا",
    "Persian": "و در به از که این آن را با است برای من تو ما شما یک هم یا اما می نمی بر تا هر شود بود باید خود",
    "Urdu": "کے میں ہے کی اور سے کا کو کہ پر یہ وہ نہیں ہیں بھی ایک کر تو جو نے آپ ہم لیے ہو تھا",
    "Hebrew": "של את לא על זה אני הוא היא אנחנו עם או כי גם אבל יש אין מה כל אם כדי אל הם אתה לי יכול יכולה זו",
    "Hindi": "है के में की का और को से पर यह वह नहीं हैं एक भी कि मैं आप हम तो कर लिए इस उस था थी हो ने या जो",
    "Bengali": "এবং করে না এই আমি আপনি একটি জন্য থেকে করা হয় যে কি ও তার সঙ্গে আছে পারে কিন্তু হবে বা",
    "Korean": "그 이 저 및 수 것 있습니다 합니다 있는 하는 그리고 또는 하지만 "
    "때 더 할 을 를 나는 저는 없습니다 입니다 위해 대한 제가 같은",
}
_ENGLISH_WORDS = (
    "the of and to a in is it you that he was for on are with as his they at be this have from or had by but not what "
    "all were we when your can said there an which she do their if will each about how them then so her would make "
    "like him into has more my than been who its now no me i our should could these any some may"
)
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
# a single Latin letter is as often the number of a list item, or noise, as a word
_FUNCTION_WORDS = {
    name: frozenset(word for word in words.split() if len(word) > 1 or word > "\u0100") - _ENGLISH
    for name, words in _SPACED.items()
}
_LANGUAGES_OF: dict[str, list[str]] = {}
for _name, _words in _FUNCTION_WORDS.items():
    for _word in sorted(_words):
        _LANGUAGES_OF.setdefault(_word, []).append(_name)
_FREQUENT_SIGNS = {
    "East Asian": {
        "Japanese": frozenset("のはをにがでとたてしるいなものすまりれられかさ"),
        "Chinese": frozenset("的是不一了在有我他这這个個们們来來到時时大地为為以可你中和上就也对對说說能会會要"),
    },
    "Thai": {"Thai": frozenset("าน่รอก้เงมยลวดทสตะปบคหแจพชขใไ")},
    "Hangul": {"Korean": frozenset("이다는을에의하고가를한지은기도로서니")},
}
"""The most frequent signs of each language, by script without spaces; the first language that fits is the one."""
_WORD = re.compile(r"[^\W\d_]+(?:[\u0300-\u036f\u0900-\u0903\u093a-\u094f\u0981-\u09cd]+[^\W\d_]*)*(?:['’][^\W\d_]+)?")
_SHORT = 24
"""Letters of a text whose language may be too short to be recognised."""
_LIKELY = {
    "Arabic": "Arabic",
    "Cyrillic": "Russian",
    "Devanagari": "Hindi",
    "East Asian": "Chinese",
    "Hangul": "Korean",
}


def is_another_language(text: str) -> bool:
    """Return whether a text is language, in another language than English; see `language_of`."""
    return language_of(text) is not None


def language_of(text: str) -> str | None:
    """Return the language of a text, unless it is English or no language.

    27 languages with spaces between words are recognised, and Chinese, Japanese, Korean and Thai. Texts in other
    languages, texts of one or two words, English (also with foreign words in it), gibberish of any script, loops and
    code are not.
    """
    text = with_straight_apostrophes(text[:MOST_CHARACTERS])
    script = script_of(text)
    if script is None or sum(map(str.isalpha, text)) < _FEWEST_LETTERS:
        return None
    for language, signs in _FREQUENT_SIGNS.get(script, {}).items():
        if _written_with(signs, text):
            return language
    words = _WORD.findall(text.lower())
    counted = Counter(words)
    found: dict[str, list[str]] = {}
    english = 0
    for word in counted:
        if word in _ENGLISH and len(word) > 1:
            english += counted[word]
        for language in _LANGUAGES_OF.get(word, ()):
            found.setdefault(language, []).append(word)
    # two distinct function words suffice for a sentence; a longer text that has no more is noise or a loop
    least = 2 if len(words) <= 12 else 3
    visible = len(text) - sum(map(text.count, " \n\t"))
    if len(counted) < 0.25 * len(words) or sum(map(len, words)) < _MOSTLY_WORDS * visible:
        return None
    best: tuple[int, str] | None = None
    for language, function in found.items():
        # the repetitions of one word are capped: "de de de la de" is a loop
        times = sum(min(counted[word], 1 + len(words) // 10) for word in function)
        enough = len(function) >= least and times >= _ENOUGH * len(words) and times > 2 * english
        if enough and (best is None or times > best[0]):
            best = times, language
    return best[1] if best else None


def short_language_of(text: str) -> str | None:
    """Return the language that a text of a few words is likely to be in, by its script; None for the Latin script.

    This is a guess: `language_of` needs more text. None for a text of more than `_SHORT` letters, too.
    """
    letters = sum(sign.isalpha() for sign in text[:MOST_CHARACTERS])
    script = script_of(text[:MOST_CHARACTERS]) if 0 < letters <= _SHORT else None
    if script == "East Asian" and any("\u3040" <= sign <= "\u30ff" for sign in text):
        return "Japanese"
    return _LIKELY.get(script) if script else None


def _written_with(signs: frozenset[str], text: str) -> bool:
    """Return whether a text without spaces uses a language's most frequent signs, and enough distinct ones."""
    letters = [sign for sign in text if sign.isalpha() or "\u0e30" <= sign <= "\u0e4e"]
    found, distinct = [sign for sign in letters if sign in signs], len(set(letters))
    if len(set(found)) < 3 or len(found) < _ENOUGH_SIGNS * len(letters) or distinct < 6:
        return False
    return distinct >= 0.1 * len(letters) or len(letters) > 300
