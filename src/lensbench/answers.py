"""The one reader of written answers: of golds, of generated texts, and of `lexicon read`.

A text is searched for *mentions*: numbers by their value (where a count may be meant) and forms of
the lexicon, each the longest that can be read and a whole word in its script: 三角形 names no
number, 黄瓜 no color, 일곱 is 7. Some are undecidable and make the whole text so: ranges (3-4),
bounds (at least 3), signs and units (−3, 3%, 3 kg), fractions (1½), compounds (blue-green), colors
that no answer is (gold) and negations (not red).

- Strict (`read_answer`): the text as a whole is one answer. Around it may stand blanks, quotes,
  marks, an article, a particle of its word (3です) and a shade of a color (dark red is red);
  beside a count one noun: "3 cats", 三只猫, 고양이 세 마리.
- Lenient (`find_answer`): the text names one number, or one color, however often, and no other.

The words are in `data/answers.yaml`; numbers in words are those of num2words, turned round.
"""

from __future__ import annotations

import unicodedata
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import regex

from lensbench.lexicon import Lexicon, load_lexicon, read_yaml

#: The gold of a sample whose answer is there, but not understood.
UNREAD = "answer:not-understood"

_FAMILY = {"count": "number"}
_WESTERN = ("en", "ru", "fr", "de", "es")
_MOST_NUMBER, _MOST_DIGITS = 999, 9
#: Words of one number or name at most ("quatre cent quatre vingt dix neuf").
_MOST_WORDS = 7
#: A longer text is no answer.
_MOST_LETTERS = 10_000
#: Letters of one noun in a script that has no spaces.
_NOUN = 4

_DIGIT = r"[\p{Nd}\p{No}\p{Nl}--〇]"
_DIGITS = regex.compile(rf"(?V1){_DIGIT}+(?:[.,:/⁄'’_–—−‐‑\-~〜x×]{_DIGIT}+)*")
_WHOLE = regex.compile(r"(\p{Nd}+)(?:[.,]0{1,2})?|(\p{Nd}{1,3}(?:,\p{Nd}{3})+)")
#: What stands before a number and makes it none, and after it; 3만 is 30 000.
_SIGNS, _AFTER = "+-−–—±~≈<>≤≥$€£¥#№^/", "%‰°+만"
#: After digits: groups of three, and fractions.
_MORE_DIGITS = regex.compile(
    r"[ \u00a0\u202f](?:\d{3}(?!\d)|\d+[/⁄]\d|[\p{No}--[⁰-₉①-⓿]])", regex.V1
)
_NUMBERED = regex.compile(r"(?<!\p{L})(?:no\.|nr\.?|n[°º]) ?$")
_ORDINAL = regex.compile(r"(?:st|nd|rd|th|e|er|re|eme|ème|d)\b")
#: No point after a digit, which may number a line: "1. There are 3 cats"; nor after "No.".
_SENTENCE = regex.compile(
    r"(?i)\W*.*?(?=\n|[。！？]|[!?]\s|(?<!\d|\bno|\bнет)\.\s|$)", regex.DOTALL
)
_WORD = regex.compile(r"[\p{Latin}\p{Cyrillic}][\p{Latin}\p{Cyrillic}\p{M}]*")
_UNSEEN = regex.compile(r"[\p{Cf}\p{Me}\p{Variation_Selector}]")
_GAP = regex.compile(r"[ \u00a0\-‐‑]+")
_CJK = regex.compile(r"[〇々ー\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]")
_HANGUL, _KANA = regex.compile(r"\p{Hangul}+"), regex.compile(r"[ー\p{Hiragana}\p{Katakana}]+")
_KATAKANA = regex.compile(r"[ー\p{Katakana}]")


@dataclass(frozen=True)
class Reading:
    """What a text answers.

    Args:
        concept: such as "number:3"; every number is one, in the lexicon or not.
        language: in which it is written, of `LANGUAGES`.
        start: where it begins in the text, in characters.
        end: where it ends.
    """

    concept: str
    language: str
    start: int
    end: int


@dataclass(frozen=True)
class _Mention:
    """A place in the folded text that names a concept; "" where that can't be decided.

    `alone`: read only where it is the whole answer, as French "un" is.
    """

    start: int
    end: int
    concept: str
    language: str
    alone: bool = False


def read_answer(text: str, kind: str | None, lexicon: Lexicon | None = None) -> Reading | None:
    """Return the answer that a text as a whole is; None if it is none, or more than one.

    Args:
        text: as it was written.
        kind: "count", "color" or a family of the lexicon; None for any of them, where a count has
            no noun and a word that is zero only in counting ("none") is no answer.
        lexicon: the forms; those that come with lensbench if None.
    """
    return _read(text, kind, lexicon, strict=True)


def find_answer(text: str, kind: str | None, lexicon: Lexicon | None = None) -> Reading | None:
    """Return the only answer of a kind in a text, where it first stands; None if two differ.

    Args:
        text: as it was written.
        kind: as for `read_answer`.
        lexicon: the forms; those that come with lensbench if None.
    """
    return _read(text, kind, lexicon, strict=False)


def generated_answer(
    text: str, kind: str | None, lexicon: Lexicon | None = None, *, lenient: bool = False
) -> Reading | None:
    """Return the answer that a model wrote.

    Strict: its first sentence or line begins with the answer, since a model goes on after it
    ("Paris, which is …"), and names no other count or color. Lenient: the same, or else the only
    answer in the whole text.

    Args:
        text: as it was generated, special tokens left out.
        kind: as for `read_answer`.
        lexicon: the forms; those that come with lensbench if None.
        lenient: which of the two.
    """
    found = _SENTENCE.match(text)
    first = found.group() if found else ""
    reading = read_answer(first, kind, lexicon)
    if reading is None:
        several = kind not in ("count", "color")
        reading = _read(first, kind, lexicon, strict=False, several=several)
        if reading is not None and regex.search(r"\w", first[: reading.start]):
            reading = None
    return reading or (find_answer(text, kind, lexicon) if lenient else None)


def begins_with(text: str, concept: str, lexicon: Lexicon | None = None) -> bool:
    """Return whether the first word or number of a text is a concept: 12 does not begin with 1.

    Args:
        text: as it was written.
        concept: such as "number:3".
        lexicon: the forms; those that come with lensbench if None.
    """
    folded, _ = _fold(text[:_MOST_LETTERS])
    family = concept.partition(":")[0]
    first = next(_mentions(folded, family, lexicon or load_lexicon()), None)
    return (
        first is not None
        and first.concept == concept
        and not regex.search(r"\w", folded[: first.start])
    )


def kind_of(concept: str) -> str:
    """Return the kind of question that a concept answers: "count" for number:3."""
    family = concept.partition(":")[0]
    return "count" if family == "number" else family


def asks_count(question: str) -> bool:
    """Return whether a question asks how many there are, so that "none" answers it with zero."""
    return bool(_pattern("counting_questions").search(_fold(question)[0]))


def _read(
    text: str, kind: str | None, lexicon: Lexicon | None, strict: bool, several: bool = False
) -> Reading | None:
    if len(text) > _MOST_LETTERS:
        return None
    lexicon = lexicon or load_lexicon()
    folded, places = _fold(text)
    mentions = list(_mentions(folded, _FAMILY.get(kind or "", kind), lexicon))
    said = [mention for mention in mentions if not mention.alone]
    chosen = (said[:1] if several else said) or mentions[:1]
    if len({mention.concept for mention in chosen}) != 1 or not chosen[0].concept:
        return None
    if _is_negated(folded, chosen):
        return None
    number = chosen[0].concept.startswith("number:")
    if number and _pattern("uncountable").search(folded):
        return None
    if (strict or not said) and not _is_whole(folded, chosen, number and kind is not None):
        return None
    start, end, concept = chosen[0].start, chosen[0].end, chosen[0].concept
    known = lexicon.find(folded[start:end])
    language = known[1] if known and known[0] == concept else chosen[0].language
    if language == "zh" and _KANA.search(folded):
        language = "ja"
    return Reading(concept, language, places[start][0], places[end - 1][1])


def _is_negated(text: str, mentions: Iterable[_Mention]) -> bool:
    """Return whether a text says what is not, "pas de" for zero aside."""
    for mention in mentions:
        if mention.concept == "number:0":
            blank = " " * (mention.end - mention.start)
            text = text[: mention.start] + blank + text[mention.end :]
        elif not mention.concept.startswith("number:") and _precedes("absences", text, mention):
            return True
    return bool(_pattern("negations").search(text))


def _precedes(name: str, text: str, mention: _Mention) -> bool:
    """Return whether a word of a list stands before a mention, blanks between them."""
    pattern = _pattern(name, shape=r"%s\s{0,9}$")
    return bool(pattern.search(text, max(0, mention.start - 30), mention.start))


def _fold(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return a text without case, width and invisible characters, and where each letter was.

    Numbers such as ½ and ② stay as they are: NFKC makes 11⁄2 of 1½.
    """
    pieces: list[str] = []
    places: list[tuple[int, int]] = []
    for cluster in regex.finditer(r"\X", text):
        piece = cluster.group()
        if unicodedata.category(piece[0]) not in ("No", "Nl"):
            piece = unicodedata.normalize("NFKC", piece).casefold()
        piece = "".join(letter for letter in piece if not _UNSEEN.match(letter))
        pieces.append(piece)
        places += [cluster.span()] * len(piece)
    return "".join(pieces), places


@cache
def _words() -> dict[str, Any]:
    """Return the words of the data file."""
    words: dict[str, Any] = read_yaml(Path(__file__).parent / "data" / "answers.yaml", "words")
    return words


@cache
def _pattern(*names: str, shape: str = "%s") -> regex.Pattern[str]:
    """Return what finds any word of some lists, the longest first, Western ones whole.

    Args:
        names: of the lists.
        shape: a pattern, in which %s is one of the words.
    """
    words = {_fold(word)[0] for name in names for word in _flat(_words()[name])}
    ways = [
        rf"(?<!\p{{L}}){_escaped(word)}(?!\p{{L}})" if _WORD.match(word) else _escaped(word)
        for word in sorted(words, key=lambda word: (-len(word), word))
    ]
    return regex.compile(shape % f"(?:{'|'.join(ways)})")


def _escaped(word: str) -> str:
    """Return a word as a pattern, with either apostrophe."""
    return str(regex.escape(word)).replace("'", "['’]")


def _flat(words: Any) -> Iterator[str]:
    """Yield the words of a list, or of the lists in a mapping."""
    if isinstance(words, Mapping):
        for part in words.values():
            yield from _flat(part)
    else:
        yield from ([words] if isinstance(words, str) else map(str, words))


def _mentions(text: str, family: str | None, lexicon: Lexicon) -> Iterator[_Mention]:
    """Yield what a folded text names, in order, none of them inside another."""
    found: list[_Mention] = []
    if family in (None, "number"):
        found += [*_digits(text), *_han(text), *_kana(text), *_hangul(text)]
        found += _western(text, _number_words(), _scales())
    if family == "number":
        found += _zeros(text)
    if family != "number":
        forms = _forms(lexicon, family)
        found += [*_western(text, forms), *_forms_unspaced(text, forms)]
    found += _alone(text, family)
    units, last = _pattern("units", shape=r"\s*%s"), 0
    for mention in sorted(found, key=lambda mention: (mention.start, -mention.end, mention.alone)):
        if mention.end > last:
            number = mention.concept.startswith("number:")
            if number and (_precedes("bounds", text, mention) or units.match(text, mention.end)):
                mention = replace(mention, concept="")
            yield mention
            last = mention.end


def _is_whole(text: str, mentions: Iterable[_Mention], noun: bool) -> bool:
    """Return whether only small words stand around the mentions, and one noun where allowed."""
    parts, last = [], 0
    for mention in mentions:
        parts.append(text[last : mention.start])
        last = mention.end
        # "이 고양이" is "this cat", not two.
        noun &= not (mention.alone and bool(_CJK.match(text[mention.start])))
    parts.append(text[last:])
    if any(
        unicodedata.category(letter)[0] == "S" and letter not in "`~" for letter in "".join(parts)
    ):
        return False
    small = _pattern("articles", "shades", "copulas", "endings")
    rest = [
        (place, word)
        for place, part in enumerate(parts)
        for word in regex.finditer(r"[\w']+", part)
        if not small.fullmatch(word.group())
    ]
    if not rest:
        return True
    place, word = rest[0]
    name = word.group()
    if not noun or len(rest) > 1 or not name.isalpha() or _pattern("vague").match(name):
        return False
    part = parts[place]
    beside = part[: word.start()] if place else part[word.end() :]
    beside = beside.strip(" \t\u00a0*_`\"'“”")
    if beside and not small.fullmatch(beside):
        return False
    if not place and regex.search("[はがにも]$", name):
        return False  # 答えは3
    if _CJK.match(name):
        return len(name) <= _NOUN and (place > 0 or not _pattern("before").search(name))
    return place == len(parts) - 1


# Numbers ------------------------------------------------------------------------------------------


def _number(
    start: int, end: int, value: int | None, language: str, alone: bool = False
) -> _Mention:
    return _Mention(start, end, "" if value is None else f"number:{value}", language, alone)


def _digits(text: str) -> Iterator[_Mention]:
    """Yield numbers in digits of any script, with their counters."""
    for match in _DIGITS.finditer(text):
        start, end = match.span()
        before, after = text[:start], text[end:]
        if regex.search(r"[_\p{L}]$", before) and not _CJK.match(before[-1]):
            continue  # p3, A4
        if _NUMBERED.search(before):
            continue  # No. 3
        if _is_ordinal(before) or _ORDINAL.match(after) or regex.match(r"[\-‐‑]\p{L}", after):
            continue  # 第3, 3rd, 3-legged
        value = _value(match.group())
        if before.endswith(tuple(_SIGNS)) or regex.search(r"(?<!\S)[.,]$", before):
            value = None
        if (
            after.startswith(tuple(_AFTER))
            or _MORE_DIGITS.match(after)
            or (_WORD.match(after) or after.startswith("_"))
        ):
            value = None
        yield from _counted(text, start, end, value, "digit")


def _value(digits: str) -> int | None:
    """Return the value of a number in digits, None if it is not a whole one."""
    if len(digits) == 1:
        value = unicodedata.numeric(digits)
        return int(value) if value.is_integer() else None
    match = _WHOLE.fullmatch(digits)
    if match is None:
        return None
    plain = (match[1] or match[2]).replace(",", "")
    return int(plain) if len(plain) <= _MOST_DIGITS else None


def _is_ordinal(before: str) -> bool:
    return before.endswith(tuple(_words()["ordinal_before"]))


def _counted(
    text: str, start: int, end: int, value: int | None, language: str
) -> Iterator[_Mention]:
    """Yield a number with the counter or the dozen after it, or nothing if it counts nothing."""
    counter = _pattern("counters", shape=r"[ \u00a0]?%s").match(text, end)
    following = _GAP.match(text, end)
    word = _WORD.match(text, following.end()) if following else None
    if counter:
        if _pattern("ordinal_after").match(text, counter.end()):
            return
        end = counter.end()
    elif _pattern("measures").match(text, end):
        return
    elif _CJK.match(text, end) and not _pattern("copulas", "endings").match(text, end):
        value = None
    elif word and word.group() in _dozens():
        value, end = None if value is None else 12 * value, word.end()
    elif (
        word
        and (word.group() in _scales() or _plain_number(word.group()))
        and _number_words().get(word.group(), ("",))[0] != f"number:{value}"  # three three
    ):
        value, end = None, word.end()
    yield _number(start, end, value, language)


def _plain_number(word: str) -> bool:
    return word in _number_words() and not _number_words()[word][2]


@cache
def _dozens() -> frozenset[str]:
    return frozenset(_flat(_words()["dozens"]))


@cache
def _scales() -> frozenset[str]:
    return frozenset(_fold(word)[0] for word in _words()["scales"])


@cache
def _number_words() -> dict[str, tuple[str, str, bool]]:
    """Return words of a number → concept, language and whether they must stand alone."""
    from num2words import num2words

    words = _words()
    table: dict[str, tuple[str, str, bool]] = {}

    def add(word: str, value: int, language: str, alone: bool = False) -> None:
        key = regex.sub(r"[\s\-‐‑]+", " ", _fold(word)[0])
        bare = "".join(
            c for c in unicodedata.normalize("NFD", key) if unicodedata.category(c) != "Mn"
        )
        for one in (key, key.translate(_UMLAUTS), bare if language != "ru" else key):
            table.setdefault(one, (f"number:{value}", language, alone))

    alone = words["alone"]["count"]
    # What must stand alone is said first: "once" is no Spanish number in an English sentence.
    for language in _WESTERN:
        for value, forms in alone.get(language, {}).items():
            for form in forms:
                add(form, value, language, alone=True)
    table |= dict.fromkeys(words["no_numbers"], ("", "en", True))
    for language in _WESTERN:
        for value in range(_MOST_NUMBER + 1):
            for word in _endings_of(num2words(value, lang=language), language):
                add(word, value, language)
        for value, forms in words["numbers"].get(language, {}).items():
            for form in forms:
                add(form, value, language)
        for word in words["dozens"][language]:
            add(word, 12, language)
    return table


_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
#: How the last word of a number changes with what is counted.
_ENDINGS = {
    "ru": [(r"один$", "одна"), (r"один$", "одно"), (r"два$", "две")],
    "fr": [(r"(?<=et )un$", "une"), (r"cents$", "cent")],
    "es": [
        (r"uno$", "un"), (r"uno$", "una"), (r"uno$", "ún"), (r"cientos\b", "cientas"),
    ],
    "en": [(r" and ", " "), (r"^one (?=hundred and )", ""), (r"^one (?=hundred and )", "a ")],
    "de": [(r"^einhundert", "hundert")],
}  # fmt: skip


def _endings_of(word: str, language: str) -> list[str]:
    return [word, *(regex.sub(old, new, word) for old, new in _ENDINGS[language])]


def _western(
    text: str, table: Mapping[str, tuple[str, str, bool]], scales: frozenset[str] | None = None
) -> Iterator[_Mention]:
    """Yield the longest phrases of Latin or Cyrillic words that a table has.

    Args:
        text: folded.
        table: phrase → concept, language and whether it must stand alone.
        scales: where numbers are looked for, words that make the number before them another one.
    """
    words = list(_WORD.finditer(text))
    place = 0
    while place < len(words):
        stop, known = _longest(text, words, place, table)
        if known is None:
            place += 1
            continue
        concept, language, alone = known
        start, end = words[place].start(), words[stop - 1].end()
        following = words[stop] if stop < len(words) else None
        place = stop
        if regex.search(r"[\p{N}_]$", text[:start]) or regex.match(
            r"[\p{N}_]|['’]\p{L}", text[end:]
        ):
            continue
        tied = _tied(text, start, end)
        if scales is None:
            yield _Mention(start, end, "" if tied else concept, language, alone)
        elif alone:
            if not tied:
                yield _Mention(start, end, concept, language, alone=True)
        elif tied and not (
            following and (following.group() in scales or _plain_number(following.group()))
        ):
            continue  # one-eyed
        else:
            value = int(concept.partition(":")[2]) if concept else None
            if text[start:end] in _dozens():
                yield _number(start, end, value, language)
                continue
            for mention in _counted(text, start, end, value, language):
                yield mention
                while place < len(words) and words[place].start() < mention.end:
                    place += 1


def _longest(
    text: str, words: list[regex.Match[str]], place: int, table: Mapping[str, tuple[str, str, bool]]
) -> tuple[int, tuple[str, str, bool] | None]:
    """Return where the longest phrase from a word on ends, and what the table says of it."""
    stops = [place + 1]
    while stops[-1] < min(len(words), place + _MOST_WORDS):
        gap = text[words[stops[-1] - 1].end() : words[stops[-1]].start()]
        if not _GAP.fullmatch(gap):
            break
        stops.append(stops[-1] + 1)
    for stop in reversed(stops):
        phrase = " ".join(word.group() for word in words[place:stop])
        if phrase in table:
            return stop, table[phrase]
        shade = _pattern_of_prefix().match(phrase)
        if shade and phrase[shade.end() :] in table:
            return stop, table[phrase[shade.end() :]]
    return place, None


@cache
def _pattern_of_prefix() -> regex.Pattern[str]:
    return regex.compile("(?:dunkel|hell)(?=[a-zäöüß])")


def _tied(text: str, start: int, end: int) -> bool:
    """Return whether a hyphen or stroke ties a phrase to a word that is no shade: blue-green."""
    shades = _pattern("shades")
    before = regex.search(r"([\p{L}\p{N}]+)[\-‐‑/]$", text[:start])
    after = regex.match(r"[\-‐‑/]((?=\s)|[\p{L}\p{N}]+)", text[end:])
    return any(tie is not None and not shades.fullmatch(tie[1]) for tie in (before, after))


def _placed(numeral: str, language: str) -> int | None:
    """Return the value of a numeral of digits and units, None if it isn't one (两三)."""
    digits, units = (_words()["places"][language][name] for name in ("digits", "units"))
    total, digit, least, filled = 0, None, 10**9, False
    for token in _place_pattern(language).findall(numeral):
        if token in digits:
            if digit:
                return None
            filled |= digits[token] == 0
            digit = digits[token]
        elif units[token] >= least:
            return None
        else:
            least = units[token]
            total += (1 if digit is None else digit) * least
            digit = None
    if language == "zh" and digit and least >= 100 and total and not filled:
        return None  # 二百五 is 250 in Chinese, 205 in Japanese.
    return total + (digit or 0)


@cache
def _place_pattern(language: str) -> regex.Pattern[str]:
    names = sorted(
        _flat([*_words()["places"][language]["digits"], *_words()["places"][language]["units"]]),
        key=len,
    )
    return regex.compile("|".join(reversed(names)))


def _han(text: str) -> Iterator[_Mention]:
    """Yield Han numerals that have a counter, or stand as words of their own."""
    numeral = _place_pattern("zh").pattern
    for match in regex.finditer(rf"(?:{numeral})+", text):
        start, end = match.span()
        before = text[:start]
        if _is_ordinal(before) or regex.search(r"\p{N}$", before):
            continue
        if _pattern("groups").match(text, start):
            continue
        value = _placed(match.group(), "zh")
        if regex.match(rf"{_pattern('joins', 'particles').pattern}(?:{numeral})", text[end:]):
            yield _number(start, end, None, "zh")
            continue
        counter = _pattern("counters").match(text, end)
        if not counter and (
            (_CJK.match(text, end) and not _pattern("copulas").match(text, end)) or _inside(before)
        ):
            continue  # 三角形, 星期三
        yield from _counted(text, start, end, value, "zh")


def _kana(text: str) -> Iterator[_Mention]:
    """Yield Japanese numbers in kana."""
    native = _words()["native"]["ja"]
    for match in regex.finditer("|".join(native), text):
        if not _pattern("ordinal_after").match(text, match.end()):
            yield _number(*match.span(), native[match.group()], "ja")
    alone = set(_flat(_words()["alone"]["count"]["ja"]))
    shape = rf"((?:{_place_pattern('ja').pattern})+)(?:{_pattern('copulas').pattern})?"
    for run in _KANA.finditer(text):
        whole = regex.fullmatch(shape, run.group())
        if whole and whole[1] not in alone:
            yield _number(run.start(), run.start() + whole.end(1), _placed(whole[1], "ja"), "ja")


def _hangul(text: str) -> Iterator[_Mention]:
    """Yield Korean numbers, native and Sino-Korean, with their counters."""
    native = _words()["native"]["ko"]
    alone = set(_flat(_words()["alone"]["count"]["ko"]))
    tens, ones = ("|".join(native[name]) for name in ("tens", "ones"))
    counters, copulas = _pattern("counters").pattern, _pattern("copulas").pattern
    ends = rf"(?:{_pattern('copulas', 'endings', 'particles').pattern})*"
    plain = rf"(?:{_pattern('copulas', 'endings').pattern})*"
    people = "|".join(native["counters"])
    shape = rf"((?:(?:{tens})(?:{ones})?|{ones})|(?:{_place_pattern('ko').pattern})+)"
    for run in _HANGUL.finditer(text):
        if regex.search(r"\p{N}$", text[: run.start()]):
            continue
        match = regex.fullmatch(rf"{shape}((?:{counters})?)({ends})", run.group())
        if not match:
            continue
        name, start = match[1], run.start()
        parts = regex.fullmatch(rf"({tens})?({ones})?", name)
        value = (
            native["tens"].get(parts[1], 0) + native["ones"].get(parts[2], 0)
            if parts
            else _placed(name, "ko")
        )
        after = f"{counters}|{people}" if parts else counters
        counter = regex.compile(rf" ({after}){ends}(?!\p{{Hangul}})").match(text, run.end())
        if name + match[2] in _words()["no_numbers"] or (
            # Up to nine they go with few counters: 사장, 일벌.
            name in "일이삼사오육칠팔구" and len(match[2]) == 1 and match[2] not in "개명"
        ):
            continue
        if not parts and not match[2] and not regex.fullmatch(plain, match[3]):
            continue  # 만나는
        if match[2] and name != "이":
            yield _number(start, start + match.end(2), value, "ko")
        elif counter and not match[3] and name != "이":
            yield _number(start, counter.end(1), value, "ko")
        elif name in alone or name.endswith(tuple(native["determiners"])):
            if name in "삼육칠팔십영" and regex.fullmatch(copulas, match[3]):
                yield _number(start, start + match.end(1), value, "ko")
        else:
            yield _number(start, start + match.end(1), value, "ko")


def _inside(before: str) -> bool:
    """Return whether what stands before a Han letter makes it a part of a longer word."""
    return bool(regex.search(r"[〇々ー\p{Han}\p{Katakana}]$", before)) and not before.endswith(
        tuple(_words()["before"])
    )


def _zeros(text: str) -> Iterator[_Mention]:
    """Yield the words that mean zero in counting: none, no cats, 没有猫."""
    vague = _pattern("vague", shape=r"[\s任何]*%s")
    refusal = _pattern("refusals", shape=r"(?:\s+\p{L}+){0,2}\s+%s")
    # 一个都没有, 一匹もいません, 하나도 없습니다
    single = (
        rf"(?:[一1]{_pattern('counters').pattern}(?:\p{{Han}}{{0,3}}[都也]|(?=も))|하나(?=도)|한 ?"
    )
    single += rf"{_pattern('counters').pattern}(?=도))?"
    before = rf"(?<!{_pattern('vague_before').pattern})"
    for language, words in _words()["zeros"].items():
        for word in words:
            if word.rstrip("'") not in text:
                continue
            shape = _escaped(word)
            if _CJK.match(word):
                shape = single + before + shape
            else:
                after = "" if word.endswith("'") else r"(?![\p{L}\-'’])"
                shape = rf"(?<![\p{{L}}\-]){shape}{after}"
            for match in regex.finditer(shape, text):
                vain = vague.match(text, match.end()) or refusal.match(text, match.end())
                one = match.group() != word and bool(_CJK.match(word))
                if one and (vain or _pattern("vague").search(match.group())):
                    yield _number(*match.span(), None, language)  # 一个答案都没有
                    continue
                if vain:
                    continue
                following = regex.match(r"\s+(\p{L}+)", text[match.end() :])
                only = not regex.search(r"\w", text[: match.start()] + text[match.end() :])
                if (
                    word in ("no", "нет")
                    and not only
                    and (not following or _plain_number(following[1]))
                ):
                    continue
                yield _number(*match.span(), 0, language)


# Forms of the lexicon -----------------------------------------------------------------------------


def _alone(text: str, family: str | None) -> Iterator[_Mention]:
    """Yield words of scripts without spaces that are read only where they are the whole answer."""
    for kind, languages in _words()["alone"].items():
        name = _FAMILY.get(kind, kind)
        for language, forms in languages.items() if family in (None, name) else ():
            for value, word in ((value, word) for value, words in forms.items() for word in words):
                if _CJK.match(word) and word in text and (family or value != 0):
                    ends = _pattern("copulas", shape=rf"(?<!\p{{L}}){word}(?=%s?(?!\p{{L}}))")
                    for match in ends.finditer(text):
                        yield _Mention(*match.span(), f"{name}:{value}", language, alone=True)


def _forms(lexicon: Lexicon, family: str | None) -> Mapping[str, tuple[str, str, bool]]:
    """Return form → concept, language and whether it must stand alone; all but numbers if None."""
    more = _color_forms() if family in (None, "color") else {}
    return ChainMap(lexicon.families.get(family or "", {}), more)


@cache
def _color_forms() -> dict[str, tuple[str, str, bool]]:
    """Return the forms of colors that the lexicon does not have."""
    lists = [
        (name, language, words, False)
        for name, languages in _words()["colors"].items()
        for language, words in languages.items()
    ]
    lists += [
        (name, language, words, True)
        for language, names in _words()["alone"]["color"].items()
        for name, words in names.items()
        if language in _WESTERN
    ]
    forms = {
        _fold(word)[0]: (f"color:{name}", language, alone)
        for name, language, words, alone in lists
        for word in words
    }
    none = ("", "en", False)
    return dict.fromkeys((_fold(word)[0] for word in _words()["no_colors"]), none) | forms


def _forms_unspaced(text: str, forms: Mapping[str, tuple[str, str, bool]]) -> Iterator[_Mention]:
    """Yield forms in Han, kana and Hangul that are whole words."""
    names = [form for form in forms if _CJK.match(form) and form in text]
    if not names:
        return
    ends = _pattern("copulas", "endings", "particles")
    shape = "|".join(regex.escape(name) for name in sorted(names, key=len, reverse=True))
    for match in regex.finditer(shape, text):
        form, (start, end) = match.group(), match.span()
        before, after = text[:start], text[end:]
        concept, language, alone = forms[form]
        shaded = _pattern("shades", shape="%s$").sub("", before)
        if _HANGUL.match(form):
            rest = _HANGUL.match(after)
            if _HANGUL.search(before[-1:]) or (
                rest and not regex.fullmatch(rf"(?:{ends.pattern})+", rest.group())
            ):
                continue
        elif _KATAKANA.match(form):
            if _KATAKANA.match(before[-1:]) or _KATAKANA.match(after):
                continue
        elif concept.startswith("color:") and before.endswith(tuple(_words()["han_colors"])):
            concept = ""
        elif len(form) == 1 and (_inside(shaded) or (_CJK.match(after) and not ends.match(after))):
            continue
        if form in _words()["kana_colors"] and not _KANA.search(text):
            concept = ""
        yield _Mention(start, end, concept, language, alone)
