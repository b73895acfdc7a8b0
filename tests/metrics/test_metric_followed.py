"""Which layers say the gold answer, token by token: by hand, and against a naive reading."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from lensbench.metrics.accuracy import Followed, Spelling, followed, goes_on

TEXTS = [
    "", "1", "2", "3", "0", " twelve", " three", " thir", "teen", "\u5341", "\u4e8c", "\u4e2a",
    " cats", ".", "5", " red", "dish", "-", " one", " hundred",
]  # fmt: skip
ID = {text: place for place, text in enumerate(TEXTS)}
END = ID[""]
LANGUAGES = ("digit", "en", "zh")
WRITTEN = {
    "number:1": [("digit", "1", ["1"]), ("en", " one", [" one"])],
    "number:2": [("digit", "2", ["2"]), ("zh", "\u4e8c", ["\u4e8c"])],
    "number:3": [("digit", "3", ["3"]), ("en", " three", [" three"])],
    "number:10": [("digit", "10", ["1", "0"]), ("zh", "\u5341", ["\u5341"])],
    "number:12": [
        ("digit", "12", ["1", "2"]),
        ("en", " twelve", [" twelve"]),
        ("zh", "\u5341\u4e8c", ["\u5341", "\u4e8c"]),
    ],
    "number:13": [("en", " thirteen", [" thir", "teen"])],
    "color:red": [("en", " red", [" red"])],
}


def spelling() -> Spelling:
    rows = [
        (concept, language, form, [ID[token] for token in tokens], "")
        for concept, forms in WRITTEN.items()
        for language, form, tokens in forms
    ]
    # The tokenizer has no token for a piece of it.
    rows.append(("number:2", "en", " two", [], "unknown"))
    forms = pd.DataFrame(rows, columns=["concept", "language", "form", "token_ids", "reason"])
    return Spelling.of(forms, WRITTEN, lambda token: TEXTS[token], LANGUAGES)


def read(
    generated: Sequence[str],
    gold: str,
    asked: str,
    layers: Sequence[Sequence[str]] = (),
    step: int = 0,
) -> Followed:
    """Follow one sample: the last layer says what is generated, others what `layers` has."""
    said = [list(layer) for layer in layers] + [list(generated)]
    top1 = np.array([[ID[token] for token in layer] for layer in said]).T
    ends = np.cumsum([len(token) for token in generated]).tolist()
    samples = pd.DataFrame(
        {
            "gold": [gold], "language": [asked], "generated": ["".join(generated)],
            "generated_ids": [[ID[token] for token in generated]], "generated_ends": [ends],
        }
    )  # fmt: skip
    return followed(top1, np.array([step]), np.array([step]), samples, spelling())


@pytest.mark.parametrize(
    ("generated", "gold", "asked", "language"),
    [
        (["1", "2", ""], "number:12", "digit", "digit"),
        (["1", "2", ""], "number:1", "digit", None),  # a written 12 is not right for 1
        (["1", ""], "number:1", "digit", "digit"),
        (["1", ""], "number:12", "digit", None),
        (["3", ""], "number:12", "digit", None),
        ([" twelve", ""], "number:12", "digit", "en"),
        ([" thir", "teen", ""], "number:13", "en", "en"),
        ([" thir", "teen", ""], "number:3", "en", None),
        (["\u5341", "\u4e8c", "\u4e2a"], "number:12", "zh", "zh"),
        (["\u5341", "\u4e8c", "\u4e2a"], "number:10", "zh", None),
        (["\u5341", "\u4e2a", ""], "number:10", "zh", "zh"),
        (["3", " cats", ""], "number:3", "digit", "digit"),
        (["3", ".", ""], "number:3", "digit", "digit"),
        (["3", ".", "5"], "number:3", "digit", None),  # seen two tokens ahead, in the text
        ([" red", "dish", ""], "color:red", "en", None),
        ([" red", ""], "color:red", "en", "en"),
        ([" three", " hundred", ""], "number:3", "en", None),
        (["-", "3", ""], "number:3", "digit", None),  # from step 1 on: minus three
    ],
)
def test_what_the_last_layer_says_by_hand(
    generated: list[str], gold: str, asked: str, language: str | None
) -> None:
    got = read(generated, gold, asked, step=1 if generated[0] == "-" else 0)
    assert got.language.tolist() == [[-1 if language is None else LANGUAGES.index(language)]]
    assert got.readable.tolist() == [True]


def test_a_layer_is_judged_where_it_reads_the_form_s_own_tokens() -> None:
    layers = [
        ["1", "2", ""],  # to its end
        ["1", "3", ""],  # another number
        ["1", "2", "3"],  # 123: it goes on in the layer
        ["3", "2", ""],  # never begun
        [" twelve", "", ""],  # another form, of one token
        ["\u5341", "\u4e8c", ""],  # its second token was read after a 1, not after ten
    ]
    got = read(["1", "2", ""], "number:12", "digit", layers)
    assert got.language[0].tolist() == [0, -1, -1, -1, 1, -1, 0]
    # The model leaves the form at once: what the first layer would have said next isn't known.
    left = read(["3", "", ""], "number:12", "digit", [["1", "2", ""], [" twelve", "", ""]])
    assert left.language[0].tolist() == [-1, 1, -1]
    assert left.readable.tolist() == [True]


@pytest.mark.parametrize(
    ("form", "after", "goes_on_"),
    [
        ("1", "2", True),
        ("1", ".5", True),
        (" six", "teen", True),
        (" twenty", "-one", True),
        ("三", "十", True),
        (" red", "dish", True),
        ("3", "", False),
        ("3", " cats", False),
        # What a layer has on top where the model's answer is at its end may be anything.
        ("3", "Pink", False),
        ("3", "不", False),
        (" two", "\n", False),
        (" red", "不", False),
        (" red", " 2", False),
    ],
)
def test_a_layer_s_next_token_makes_another_number_or_word(
    form: str, after: str, goes_on_: bool
) -> None:
    concepts = {"1": "number:1", "3": "number:3", "三": "number:3", " six": "number:6",
                " two": "number:2", " twenty": "number:20", " red": "color:red"}  # fmt: skip
    assert goes_on(form, after, concepts[form]) is goes_on_


def test_what_can_not_be_read_is_told() -> None:
    # Cut off within the only form asked for; a form of one token in that language can be read.
    assert not read(["1"], "number:12", "digit").readable[0]
    assert read(["1"], "number:12", "en").readable[0]
    # At the cut nothing is seen to go on.
    assert read(["3"], "number:3", "digit").right.tolist() == [[True]]
    # No form in the language asked for, or none that the vocabulary can write, or no gold.
    assert not read(["1", ""], "number:1", "zh").readable[0]
    assert not read(["2", ""], "number:2", "en").readable[0]
    assert not read(["2", ""], "", "en").readable[0]
    # Said in another language it is right all the same; whether it counts is another matter.
    assert read(["2", ""], "number:2", "en").right.tolist() == [[True]]


def test_random_runs_against_a_naive_reading() -> None:
    """Sample by sample and layer by layer, by texts, instead of by groups and ids."""
    rng = np.random.default_rng(3)
    numbers = {"1": 1, "2": 2, "3": 3, "10": 10, "12": 12}
    digits = ["1", "2", "3", "0"]
    checked = 0
    for _ in range(300):
        gold = rng.choice(list(numbers))
        ended = [*rng.choice(digits, rng.integers(1, 4)), ""]
        layers = [rng.choice([*digits, ""], len(ended)).tolist() for _ in range(4)]
        got = read(ended, f"number:{gold}", "digit", layers)
        generated = "".join(ended)
        for place, layer in enumerate([*layers, ended]):
            # The layer's number: its own digits, for as long as it has read no others.
            said = layer[0]
            for step in range(1, len(layer)):
                if layer[:step] != ended[:step] or not layer[step]:
                    break
                said += layer[step]
            want = said == gold and not (generated.startswith(gold) and generated != gold)
            assert bool(got.right[0, place]) == want, (gold, ended, layer)
            checked += want
    assert checked > 100
