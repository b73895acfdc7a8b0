from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from num2words import num2words

from lensbench.datasets.drawing import COLORS
from lensbench.errors import DataError
from lensbench.lexicon import LANGUAGES, Lexicon, fold, load_lexicon, variants
from lensbench.scripts import script_of


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return load_lexicon()


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "lexicon.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_numbers_to_twenty_and_every_drawn_color_are_there(lexicon: Lexicon) -> None:
    assert {f"number:{n}" for n in range(21)} <= set(lexicon.concepts)
    assert {f"color:{name}" for name in COLORS} <= set(lexicon.concepts)
    for n in range(21):
        assert ("digit", str(n)) in lexicon.forms(f"number:{n}")
    for name in COLORS:
        assert ("en", name) in lexicon.forms(f"color:{name}")


@pytest.mark.parametrize("language", ["en", "fr", "de", "es", "ru", "ko", "ja"])
def test_number_words_are_those_of_num2words(lexicon: Lexicon, language: str) -> None:
    left_out = {fold(form) for form in lexicon.left_out}
    for n in range(21):
        word = num2words(n, lang=language)
        if fold(word) in left_out:
            assert lexicon.find(word) is None
        else:
            assert lexicon.find(word) is not None, f"{word} of {language} is missing"
            assert lexicon.find(word)[0] == f"number:{n}"


@pytest.mark.parametrize(
    ("concept", "forms"),
    {
        # The study's hand-cleaned list of Chinese forms.
        "number:0": "无 零 零个",
        "number:1": "一 一个 一つ",
        "number:2": "两个 两条 两 兩",
        "number:3": "三 三个",
        "number:4": "四个 四",
        "number:5": "五个 五",
        "color:red": "red 红 红色 赤 빨강 красный rouge rojo",
        "color:black": "black 黑色 黒 검정 чёрный черный noir schwarz negro",
        "capital:paris": "Paris 巴黎 パリ 파리 Париж París",
    }.items(),
)
def test_hand_chosen_forms(lexicon: Lexicon, concept: str, forms: str) -> None:
    for form in forms.split():
        found = lexicon.find(f" {form.upper()} ")
        assert found is not None
        assert found[0] == concept


def test_the_script_of_a_form_fits_its_language(lexicon: Lexicon) -> None:
    allowed = {
        "digit": {"Digit"},
        "en": {"Latin"},
        "fr": {"Latin"},
        "de": {"Latin"},
        "es": {"Latin"},
        "zh": {"Han"},
        "ja": {"Han", "Kana"},
        "ko": {"Hangul"},
        "ru": {"Cyrillic"},
    }
    for concept, languages in lexicon.entries.items():
        for language, forms in languages.items():
            for form in forms:
                assert script_of(form) in allowed[language], (concept, language, form)
                # A look-alike letter of another script would never be found in a vocabulary.
                if language != "ja":
                    assert len({script_of(c) for c in form if c.isalpha()}) <= 1, form


def test_every_concept_has_an_english_form_and_its_name(lexicon: Lexicon) -> None:
    for concept in lexicon.concepts:
        family, name = concept.split(":")
        assert "en" in lexicon.languages(concept)
        if family != "number":
            assert lexicon.find(name) == (concept, "en")


def test_homographs_are_left_out(lexicon: Lexicon) -> None:
    for form in ("once", "elf", "rot", "rose", "or", "no", "null", "may", "に", "이", "青"):
        assert form in lexicon.left_out
        assert lexicon.find(form) is None


def test_a_shared_form_belongs_to_the_first_language(lexicon: Lexicon) -> None:
    assert lexicon.find("six") == ("number:6", "en")
    assert lexicon.find("白") == ("color:white", "zh")
    assert lexicon.find("orange") == ("color:orange", "en")
    assert [f for f in lexicon.forms("number:6") if f[1] == "six"] == [("en", "six")]
    assert "fr" not in lexicon.languages("number:6")
    order = [LANGUAGES.index(language) for language, _ in lexicon.forms("number:3")]
    assert order == sorted(order)


def test_find_ignores_case_and_outer_space_only(lexicon: Lexicon) -> None:
    assert lexicon.find("  THREE\n") == ("number:3", "en")
    assert lexicon.find("WEISS") == ("color:white", "de")
    assert lexicon.find("zero\u0301") is None
    assert lexicon.find("ze\u0301ro") == ("number:0", "fr")  # Composed or not is the same.
    assert lexicon.find("three stars") is None
    assert lexicon.find("") is None


def test_variants() -> None:
    assert variants("red") == ["red", " red", "Red", " Red", "RED", " RED"]
    assert variants("Paris") == ["Paris", " Paris", "paris", " paris", "PARIS", " PARIS"]
    assert variants("три") == ["три", " три", "Три", " Три", "ТРИ", " ТРИ"]
    assert variants("红") == ["红", " 红"]
    assert variants("3") == ["3", " 3"]
    assert variants("だ") == ["だ", " だ"]


def test_an_unknown_concept_is_named(lexicon: Lexicon) -> None:
    assert "number:3" in lexicon
    assert "number:99" not in lexicon
    with pytest.raises(DataError, match="number:99"):
        lexicon.forms("number:99")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no lexicon"),
        ("- a\n", "holds no lexicon"),
        ("left_out: {a: b}\n", "no concept"),
        ("color: {}\n", "the family 'color'"),
        ("color: {red: {}}\n", "color:red must map"),
        ("color: {red: {xx: [a]}}\n", "unknown language 'xx'"),
        ("color: {red: {en: []}}\n", "color:red has no list of forms in en"),
        ("color: {red: {en: red}}\n", "color:red has no list of forms in en"),
        ("number: {'1': {digit: [1]}}\n", "reads as int: put it in quotes"),
        ("number: {'0': {en: [no]}}\n", "reads as bool: put it in quotes"),
        ("number: {1: {en: [one]}}\n", "1 is no name"),
        ("color: {Red Hot: {en: [red]}}\n", "'Red Hot' is no name"),
        ("color: {red: {en: ['']}}\n", "must not be blank"),
        ("color: {red: {en: [' red']}}\n", "must not be blank"),
        ("color: {red: {en: [red, Red]}}\n", "'Red' twice in en"),
        ("color: {red: {en: [red], en: [rouge]}}\n", "in line 1: the key 'en' is there twice"),
        ("color: {red: {en: [red]}}\ncolor: {blue: {en: [b]}}\n", "line 2: the key 'color'"),
        ("left_out: [red]\ncolor: {red: {en: [red]}}\n", "left_out must map"),
        ("left_out: {RED: why}\ncolor: {red: {en: [red]}}\n", r"left_out excludes \(why\)"),
        ("color: {red: {en: [red]\n", "not valid YAML in line"),
        ("color: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ("? [a, b]\n: 1\n", "not valid YAML|no name|the family"),
    ],
)
def test_a_bad_lexicon_is_met_with_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=said) as caught:
        load_lexicon(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_form_of_two_concepts_names_form_concepts_and_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a: {x: {en: [gold]}}\nb: {y: {de: [Gold]}}\n")
    with pytest.raises(DataError) as caught:
        load_lexicon(path)
    for part in ("'Gold'", "a:x", "b:y", str(path)):
        assert part in str(caught.value)


def test_a_lexicon_that_is_missing_or_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.yaml can't be read"):
        load_lexicon(tmp_path / "nowhere.yaml")
    path = tmp_path / "latin.yaml"
    path.write_bytes("number: {'0': {fr: [zéro]}}".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        load_lexicon(path)


def test_no_torch() -> None:
    code = "import sys, lensbench.lexicon, lensbench.scripts, lensbench.datasets as d; "
    code += "[d.DATASETS]; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
