from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from lensbench.datasets.facts import choose, load_facts, make
from lensbench.datasets.manifest import read_manifest
from lensbench.errors import DataError
from lensbench.lexicon import fold, load_lexicon


def test_enough_facts_of_enough_families() -> None:
    facts = load_facts()
    assert len(facts) >= 120
    families = Counter(fact.family for fact in facts)
    assert len(families) >= 10
    assert min(families.values()) >= 4
    languages = Counter(fact.language for fact in facts)
    assert languages["zh"] >= 20
    assert languages["en"] > len(facts) / 2


def test_every_gold_is_a_concept_with_a_form_in_its_language() -> None:
    lexicon = load_lexicon()
    for fact in load_facts():
        assert fact.gold in lexicon
        assert fact.language in lexicon.languages(fact.gold), fact.prompt


def test_no_answer_is_too_frequent_and_no_prompt_is_twice() -> None:
    facts = load_facts()
    assert len({fold(fact.prompt) for fact in facts}) == len(facts)
    assert Counter(fact.gold for fact in facts).most_common(1)[0][1] <= len(facts) * 0.06


def test_no_prompt_gives_its_answer_away_in_the_language_asked() -> None:
    lexicon = load_lexicon()
    for fact in load_facts():
        if fact.family == "arithmetic":
            continue  # 3-1=2 must be allowed to repeat a number.
        for language, form in lexicon.forms(fact.gold):
            if language == fact.language and language not in ("zh", "ja"):
                pattern = rf"(?<!\w){re.escape(fold(form))}(?!\w)"
                assert not re.search(pattern, fold(fact.prompt)), (fact.prompt, form)


@pytest.mark.parametrize(
    ("ending", "gold"),
    [
        ("the capital of France is", "capital:paris"),
        ("法国的首都是", "capital:paris"),
        ("The opposite of hot is", "word:cold"),
        ("1+1=", "number:2"),
        ("Monday, Tuesday, Wednesday,", "day:thursday"),
        ("the chemical symbol O stands for", "element:oxygen"),
    ],
)
def test_hand_chosen_truths(ending: str, gold: str) -> None:
    matching = [fact for fact in load_facts() if fact.prompt.endswith(ending)]
    assert matching, ending
    assert {fact.gold for fact in matching} == {gold}


def test_arithmetic_is_right() -> None:
    digits = [fact for fact in load_facts() if fact.language == "digit"]
    assert len(digits) >= 10
    for fact in digits:
        a, operator, b = re.fullmatch(r"(?s).*?(\d)([+-])(\d)=", fact.prompt).groups()
        answer = int(a) + int(b) if operator == "+" else int(a) - int(b)
        assert fact.gold == f"number:{answer}", fact.prompt


def test_the_manifest_has_the_questions(tmp_path: Path) -> None:
    facts = load_facts()
    make(tmp_path / "facts", n=len(facts), seed=0)
    manifest = read_manifest(tmp_path / "facts")
    assert manifest["prompt"].tolist() == [fact.prompt for fact in facts]
    assert set(manifest["style"]) == {"completion"}
    assert manifest["image"].isna().all()


def test_a_smaller_choice_is_part_of_a_larger_one_and_spread_over_the_families() -> None:
    facts = load_facts()
    families = {fact.family for fact in facts}
    few, more = choose(facts, len(families), 0), choose(facts, 50, 0)
    assert {facts[place].family for place in few} == families
    assert set(few) < set(more)
    assert len(more) == 50
    assert choose(facts, 50, 0) == more != choose(facts, 50, 1)
    assert choose(facts, len(facts), 3) == list(range(len(facts)))


def test_more_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="questions, not 100000: lower its n"):
        make(tmp_path / "facts", n=100_000, seed=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no facts"),
        ("a: {}\n", "holds no facts: add"),
        ("a: [b]\n", "the family 'a' must map"),
        ("a: {xx: []}\n", "unknown language 'xx'"),
        ("a: {en: [[q]]}\n", "use .prompt, concept."),
        ("a: {en: q}\n", "use .prompt, concept."),
        ("a: {en: [['2 is', 2]]}\n", "use .prompt, concept."),
        ("a: {en: [['q ', 'number:1']]}\n", "begins or ends with a space"),
        ("a: {en: [[q, 'number:77']]}\n", "'number:77' to 'q' has no form in 'en'"),
        ("a: {de: [[q, 'number:0']]}\n", "'number:0' to 'q' has no form in 'de'"),
        ("a: {en: [[q, 'number:1'], [q, 'number:2']]}\n", "'q' is there twice"),
        ("a: {en: [\n", "not valid YAML"),
    ],
)
def test_bad_facts_are_met_with_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "facts.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said) as caught:
        make(tmp_path / "facts", n=1, seed=0, path=path)
    assert str(path) in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["facts.yaml"]
