"""What token ids say, in byte-level and SentencePiece vocabularies, and the forms of concepts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.planted import text_model, token_id, tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lensbench.cli import main
from lensbench.errors import ModelError, panics_told
from lensbench.lens.groups import token_groups
from lensbench.lexicon import Lexicon
from lensbench.models.load import load_model
from lensbench.models.vocabulary import (
    forms_table,
    text_ends,
    token_texts,
    too_short,
    vocabulary_table,
    without_shared,
)
from lensbench.steps import content_step, step_of


def sentencepiece():
    """A vocabulary as Llama 2 has it: ▁ for a space, <0xE4> for bytes."""
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        *[f"<0x{byte:02X}>" for byte in range(256)],
        "▁",
        "▁three",
        "t",
        "h",
        "r",
        "e",
        "三",
        "▁re",
        "d",
        "▁red",
        "ree",
    ]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    made = Tokenizer(models.BPE(vocabulary, [("▁re", "d")], unk_token="<unk>", byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def test_byte_level_tokens():
    words = tokenizer("<image>")
    table = vocabulary_table(words, len(words) + 2).set_index("token_id")
    assert table.loc[token_id(words, " three"), ["text", "script"]].tolist() == [" three", "Latin"]
    assert table.loc[token_id(words, "三"), ["text", "script"]].tolist() == ["三", "Han"]
    assert table.loc[words.convert_tokens_to_ids("<image>"), "script"] == "Special"
    # The first byte of every Han character of the common block.
    byte = table[table["text"] == "<0xE4>"].iloc[0]
    assert (byte["script"], bool(byte["is_fragment"])) == ("Fragment", True)
    # Logits that no token has.
    assert table.loc[len(words), ["text", "script"]].tolist() == ["", "Special"]
    whole = table[~table["is_fragment"] & (table["script"] != "Special")]
    for index in whole.index:
        assert words.decode([index]) == whole.loc[index, "text"]


def test_sentencepiece_tokens():
    words = sentencepiece()
    texts, fragments, specials = token_texts(words, len(words))
    by_text = {text: index for index, text in enumerate(texts)}
    assert texts[words.convert_tokens_to_ids("▁three")] == " three"
    assert texts[words.convert_tokens_to_ids("<0xE4>")] == "<0xE4>"
    assert fragments[words.convert_tokens_to_ids("<0xE4>")]
    # A byte that is a whole character is one.
    newline = words.convert_tokens_to_ids("<0x0A>")
    assert (texts[newline], fragments[newline]) == ("\n", False)
    assert specials[:3] == [True] * 3
    assert not specials[by_text["三"]]


LEXICON = Lexicon(
    {
        "number:3": {"digit": ("3",), "en": ("three",), "zh": ("三",)},
        "number:33": {"zh": ("三三",)},
        "color:red": {"en": ("red",), "fr": ("rouge",)},
        "color:green": {"en": ("green",)},
        "word:goat": {"en": ("goat",)},
        "word:golf": {"en": ("golf",)},
    }
)


def forms_of(words, lexicon=LEXICON):
    vocabulary = vocabulary_table(words, len(words))
    return vocabulary, forms_table(words, vocabulary, lexicon)


def one(forms, concept, form):
    return forms[(forms["concept"] == concept) & (forms["form"] == form)].iloc[0]


def test_a_form_is_the_tokens_it_is_written_with():
    words = tokenizer()
    _, forms = forms_of(words)
    three, longer = one(forms, "number:3", "三"), one(forms, "number:33", "三三")
    assert (three["token_text"], three["n_tokens"], three["kept"]) == ("三", 1, True)
    assert longer["token_ids"] == [three["token_id"]] * 2
    assert (longer["token_id"], longer["n_tokens"]) == (three["token_id"], 2)
    goat = one(forms, "word:goat", "goat")
    assert [words.decode([token]) for token in goat["token_ids"]] == list("goat")


def test_a_first_token_that_another_gold_of_the_dataset_shares_stands_for_neither():
    _, whole = forms_of(tokenizer())
    # 三 is all of three and the beginning of thirty-three: it matters where both are asked for.
    for golds, reasons in {
        ("number:3", "color:red"): ("", "shared with number:3"),
        ("number:33",): ("shared with number:33", ""),
        ("number:3", "number:33"): ("shared with number:33", "shared with number:3"),
        (): ("", ""),
    }.items():
        forms = without_shared(whole, golds)
        three, longer = one(forms, "number:3", "三"), one(forms, "number:33", "三三")
        assert (three["reason"], longer["reason"]) == reasons
        assert (three["kept"], longer["kept"]) == tuple(not reason for reason in reasons)
        assert (
            one(forms, "number:3", "three")["reason"] == one(whole, "number:3", "three")["reason"]
        )
    # What says too little is no better for being nobody else's, nor for being somebody's.
    both = without_shared(whole, ("word:goat", "word:golf"))
    assert one(both, "word:goat", "goat")["reason"] == "too short"
    assert one(both, "color:green", " green")["kept"]


def test_a_first_token_that_says_too_little_of_its_form_stands_for_nothing():
    words = tokenizer()
    _, forms = forms_of(words, Lexicon({"word:goat": {"en": ("goat",)}}))
    goat = one(forms, "word:goat", "goat")
    assert (goat["token_text"], goat["kept"], goat["reason"]) == ("g", False, "too short")
    for (piece, form), short in {
        (" do", " doce"): True,  # two letters begin many words
        (" twe", " twelve"): False,  # three of six
        (" twe", " twentieth"): True,  # three of nine
        ("い", "いつつ"): True,  # one of three
        ("红", "红色"): False,  # no cases, and half of it
    }.items():
        assert too_short(piece, form) is short, (piece, form)


def test_fragments_and_blanks_are_left_out_with_the_reason():
    words = tokenizer()
    _, forms = forms_of(words, Lexicon({"word:sea": {"ja": ("海",)}}))
    assert one(forms, "word:sea", "海")["reason"] == "fragment"
    assert one(forms, "word:sea", " 海")["reason"] == "fragment"


def test_sentencepiece_s_own_space_is_no_part_of_a_form():
    words = sentencepiece()
    _, forms = forms_of(words, Lexicon({"number:3": {"en": ("three",), "zh": ("三",)}}))
    assert one(forms, "number:3", "三")["token_text"] == "三"
    assert one(forms, "number:3", " three")["token_text"] == " three"


def test_where_the_text_of_each_token_ends():
    words = tokenizer()
    for text in (" three 三 海!", "海海", "\n\n3", ""):
        ids = words(text, add_special_tokens=False)["input_ids"]
        ends, whole = text_ends(words, ids), words.decode(ids)
        assert len(ends) == len(ids)
        assert (ends[-1] if ends else 0) == len(whole)
        # Each character begins at the first token whose end lies beyond it: bytes counted naively.
        raw = [words.convert_ids_to_tokens(token) for token in ids]
        widths = [len(piece) for piece in raw]  # byte-level: a letter a byte
        starts = np.cumsum([0, *widths])[:-1]
        for place in range(len(whole)):
            byte = len(whole[:place].encode())
            naive = max(step for step, start in enumerate(starts) if start <= byte)
            assert step_of(place, ends) == naive, (text, place)


def test_sentencepiece_writes_its_space_as_a_step_of_its_own():
    words = sentencepiece()
    ids = words.convert_tokens_to_ids(["▁", "三"])
    text = words.decode(ids, skip_special_tokens=True)
    ends = text_ends(words, ids)
    assert content_step(text, ends) == 1
    # A character of three bytes begins where the first of them is generated.
    ids = words.convert_tokens_to_ids(["▁", "<0xE6>", "<0xB5>", "<0xB7>", "d"])
    assert text_ends(words, ids) == [0, 1, 1, 1, 2]
    ids = words.convert_tokens_to_ids(["▁", "三"])
    assert [text[a:b].strip() for a, b in zip([0, *ends], ends, strict=False)] == ["", "三"]


def test_groups_count_a_token_once_for_its_first_language():
    vocabulary = pd.DataFrame({"token_id": [0, 1, 2], "script": ["Latin", "Han", "Latin"]})
    forms = pd.DataFrame(
        [
            ("a:b", "fr", 0, True),
            ("a:b", "en", 0, True),
            ("a:b", "zh", 1, True),
            ("a:b", "de", 2, False),
            ("a:c", "de", 2, True),
        ],
        columns=["concept", "language", "token_id", "kept"],
    )
    groups = token_groups(vocabulary, forms, ("Latin", "Han"), ("en", "zh", "fr", "de"), 3)
    assert groups.scripts.tolist() == [[1, 0], [0, 1], [1, 0]]
    ids, languages = groups.of(["a:b", "a:c", "a:d"])
    assert ids.tolist() == [[0, 1], [2, -1], [-1, -1]]
    assert languages.tolist() == [[0, 1], [3, -1], [-1, -1]]
    with pytest.raises(ModelError, match="3 tokens for 4 logits"):
        token_groups(vocabulary, forms, ("Latin", "Han"), ("en", "zh", "fr", "de"), 4)


def folder_with(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Write a tiny model whose tokenizer is changed."""
    made = text_model("llama")
    made.model.save_pretrained(folder)
    made.processor.save_pretrained(folder)
    path = folder / "tokenizer.json"
    tree = json.loads(path.read_text(encoding="utf-8"))
    change(tree["model"])
    path.write_text(json.dumps(tree), encoding="utf-8")
    return folder


def test_a_token_of_a_number_that_no_vocabulary_reaches_is_refused(tmp_path: Path) -> None:
    """Once its tokenizer was written down, which ends the process for lack of memory."""
    folder = folder_with(tmp_path, lambda model: model["vocab"].update({"far\n": 2**24}))
    with pytest.raises(ModelError, match=r"numbers the token 'far\\n' 16,777,216, where no vocab"):
        load_model("m", f"folder:{folder}", dtype="float32", device="cpu")


def panics(model: dict[str, Any]) -> None:
    """Cut more off the second half of a merge than it has."""
    model["continuing_subword_prefix"] = "longer than all"


def test_a_panic_of_the_tokenizers_library_is_one_sentence(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, panics)
    # It is met by no `except Exception`.
    with pytest.raises(BaseException, match="out of range") as caught:
        Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert not isinstance(caught.value, Exception)
    with pytest.raises(ModelError, match=r"can't be used: a library gave up on it \(range"):
        load_model("m", f"folder:{folder}", dtype="float32", device="cpu")


def test_the_command_tells_a_panic_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder_with(tmp_path, panics) / "tokenizer.json"
    monkeypatch.setattr("lensbench.cli.app", lambda: Tokenizer.from_file(str(file)))
    capsys.readouterr()
    with pytest.raises(SystemExit, match="1"):
        main()
    said = capsys.readouterr().err
    assert said.startswith("lensbench: What was read can't be used: a library gave up on it (range")
    assert said.count("\n") == 1


def test_other_errors_than_panics_pass_as_they_are() -> None:
    for error in (KeyboardInterrupt(), ValueError("x"), SystemExit(3)):
        with pytest.raises(type(error)) as caught, panics_told("It"):
            raise error
        assert caught.value is error
