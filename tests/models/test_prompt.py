"""Prompts: template, padding on the left, image positions and their grid, pictures opened."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.planted import image_model, text_model, tokenizer
from tests.prompters import PROMPTERS, byte_words, sentence_pieces
from tokenizers import AddedToken, normalizers
from tokenizers.processors import TemplateProcessing
from transformers.utils import chat_template_utils

from lensbench.config import load_schema
from lensbench.errors import DataError, ModelError
from lensbench.lens.generate import generate, trace_batch
from lensbench.models.batches import join, same
from lensbench.models.load import embedding_rows, load_model, prepare
from lensbench.models.pictures import probe_pictures
from lensbench.models.prompt import DATE, Prompter, encode, open_picture

#: The BOS token at the beginning of a chat of each family, as its authors trained it, if any.
BOS = {
    "llava": "<s>", "llava next": "<s>", "onevision": None, "qwen2-vl": None, "qwen2.5-vl": None,
    "qwen3-vl": None, "gemma 3": "<bos>", "idefics3": "<|im_start|>", "smolvlm": "<|im_start|>",
    "internvl": None,
}  # fmt: skip
#: What no question may hold: turns, their ends, pictures.
CONTROL = {
    "llava": "<s> </s> <unk> <pad> <image>",
    "onevision": "<|endoftext|> <|im_start|> <|im_end|> <image> <video>",
    "qwen2-vl": "<|im_start|> <|im_end|> <|vision_start|> <|image_pad|> <|video_pad|>",
    "gemma 3": "<bos> <eos> <start_of_turn> <end_of_turn> <start_of_image> <soft>",
    "paligemma": "<bos> <eos> <image>",
    "smolvlm": "<|im_start|> <end_of_utterance> <image> <row_1_col_1> <fake_token_around_image>",
    "internvl": "<|im_end|> <img> <ctx> </img>",
}
QUESTIONS = ("How many of the 12 stars are there ?", " Why? \n")


def row(prompt, style="chat", image=None):
    return {"prompt": prompt, "style": style, "image": image}


def test_chat_and_completion():
    loaded = text_model("llama")
    wanted = "<|im_start|>user\nWhy ?<|im_end|>\n<|im_start|>assistant\n"
    assert loaded.prompter.text(row("Why ?")) == wanted
    assert loaded.prompter.text(row("Why ?", "completion")) == "Why ?"
    loaded.tokenizer.chat_template = None
    assert loaded.prompter.text(row("Why ?")) == "Why ?"


def test_padding_is_on_the_left():
    loaded = text_model("llama")
    encoded = encode(loaded, [row("Why", "completion"), row("How many stars", "completion")])
    first = int(encoded.first[0])
    assert first == max(encoded.n_tokens) - encoded.n_tokens[0] > 0
    assert encoded.inputs["attention_mask"][0].tolist() == [0] * first + [1] * encoded.n_tokens[0]
    assert not encoded.image.any()
    assert encoded.grids == [(0, 0)] * 2


@pytest.mark.parametrize(
    ("family", "grid", "count"),
    [
        ("llava", (4, 4), 16),
        # The whole picture's 16 positions, its one tile's 16 and a line end after each row of 4.
        ("onevision", (4, 4), 16 + 16 + 4),
        # 32 × 32 pixels in patches of 8, merged by 2 × 2.
        ("qwen2vl", (2, 2), 4),
    ],
)
def test_image_positions_and_grid(family, grid, count):
    loaded = image_model(family)
    picture = Image.new("RGB", (32, 32), "red")
    rows = [row("Why", image="a.png"), row("How many stars are there ?", image="b.png")]
    encoded = encode(loaded, rows, [picture, picture])
    assert encoded.grids == [grid] * 2
    assert encoded.n_image_tokens == [count] * 2
    assert encoded.prompts[0].index("<") < encoded.prompts[0].index("Why")
    ids = encoded.inputs["input_ids"]
    assert torch.equal(encoded.image, ids == loaded.anatomy.image_token_id)
    # One stretch, before the words.
    for mask in encoded.image:
        where = mask.nonzero()[:, 0]
        assert int(where[-1] - where[0]) == count - 1


def test_a_wide_picture_has_a_wide_grid_where_the_model_keeps_its_shape():
    loaded = image_model("qwen2vl")
    encoded = encode(loaded, [row("Why", image="a.png")], [Image.new("RGB", (64, 32))])
    assert encoded.grids == [(2, 4)]
    assert encoded.n_image_tokens == [8]


def test_what_can_not_be_a_batch_is_refused():
    loaded = image_model("llava")
    picture = Image.new("RGB", (32, 32))
    with pytest.raises(DataError, match="which stands for a picture"):
        encode(loaded, [row("What is <image> ?", image="a.png")], [picture])
    with pytest.raises(DataError, match="2 samples and 1 pictures"):
        encode(loaded, [row("Why", image="a.png")] * 2, [picture])
    with pytest.raises(DataError, match="can't be one batch: give each its own"):
        encode(text_model("llama"), [row("Why"), row("Why", "completion")])
    with pytest.raises(DataError, match="takes no picture"):
        encode(text_model("llama"), [row("Why", image="a.png")], [picture])


def test_pictures_become_rgb_and_stand_upright(tmp_path):
    pixels = np.zeros((2, 3), dtype=np.uint8)
    pixels[0, 0] = 255
    picture = Image.fromarray(pixels, "L")
    exif = picture.getexif()
    exif[0x0112] = 3  # Turned by half a circle.
    picture.save(tmp_path / "a.png", exif=exif)
    found = open_picture(tmp_path / "a.png")
    assert (found.mode, found.size) == ("RGB", (3, 2))
    assert found.getpixel((2, 1)) == (255, 255, 255)


def test_a_picture_too_large_to_be_one_is_refused(tmp_path, monkeypatch):
    Image.new("RGB", (40, 40)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"bomb\.png has more than 1000 pixels"):
        open_picture(tmp_path / "bomb.png")


@pytest.fixture(scope="module")
def families():
    return {name: make() for name, make in PROMPTERS.items()}


def pictures_of(n):
    return [Image.effect_noise((64, 40 + 8 * i), 60).convert("RGB") for i in range(n)]


def chat_of(words, picture=None):
    content = [{"type": "text", "text": words}]
    if picture is not None:
        content = [{"type": "image", "image": picture}, *content]
    return [{"role": "user", "content": content}]


def applied(processor, chats):
    return processor.apply_chat_template(
        chats, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        processor_kwargs={"padding": True},
    )  # fmt: skip


def ids_of(encoded, index=0):
    return encoded.inputs["input_ids"][index].tolist()


@pytest.mark.parametrize("family", PROMPTERS)
def test_a_chat_has_the_ids_that_its_processor_gives(families, family):
    prompter, shown = families[family], pictures_of(2)
    for words, picture in zip(QUESTIONS, shown, strict=True):
        ours = prompter.encode([row(words, image="a")], [picture])
        theirs = applied(prompter.processor, chat_of(words, picture))
        assert ids_of(ours) == theirs["input_ids"][0].tolist()
        assert torch.equal(ours.inputs["pixel_values"], theirs["pixel_values"])
        if family == "paligemma":  # Its processor takes none, and says so.
            with pytest.raises(DataError, match="takes no chat without a picture"):
                prompter.encode([row(words)])
            continue
        ours = prompter.encode([row(words)])
        assert ids_of(ours) == applied(prompter.processor, chat_of(words))["input_ids"][0].tolist()
    # Padded on the left, together.
    rows = [row(words, image="a") for words in QUESTIONS]
    ours = prompter.encode(rows, shown)
    chats = [chat_of(words, picture) for words, picture in zip(QUESTIONS, shown, strict=True)]
    theirs = applied(prompter.processor, chats)
    for name in ("input_ids", "attention_mask", "pixel_values"):
        assert torch.equal(ours.inputs[name], theirs[name])
    assert int(ours.first.max()) > 0
    alone = [prompter.encode([rows[i]], [shown[i]]) for i in range(2)]
    assert same(join(alone, prompter.tokenizer.pad_token_id), ours)


@pytest.mark.parametrize("family", BOS)
def test_a_chat_begins_with_one_bos_token(families, family):
    prompter, picture = families[family], pictures_of(1)[0]
    for encoded in (
        prompter.encode([row("Why", image="a")], [picture]),
        prompter.encode([row("Why")]),
    ):
        names = prompter.tokenizer.convert_ids_to_tokens(ids_of(encoded))
        bos = BOS[family]
        assert prompter.tokenizer.bos_token == bos
        if bos is not None:
            assert names[0] == bos
            assert names.count(bos) == 1
            assert encoded.prompts[0].startswith(bos)
    # `processor(text=, images=)` feeds the same, but adds a second one to Gemma's.
    text = prompter.text(row("Why", image="a"))
    fed = prompter.processor(text=text, images=[picture], return_tensors="pt")["input_ids"][0]
    ours = ids_of(prompter.encode([row("Why", image="a")], [picture]))
    assert fed.tolist() == ([ours[0], *ours] if family == "gemma 3" else ours)


def test_what_is_noted_of_a_prompt_is_what_the_model_is_fed(families):
    picture = pictures_of(1)[0]
    for family, wanted in (
        # Llama's tokenizer begins a text, and goes on after a special token, with a space.
        ("llava", "<s> USER: <image> \nWhy ASSISTANT:"),
        ("llava next", "<s> [INST] <image> \nWhy [/INST]"),
        ("onevision", "<|im_start|>user <image>\nWhy<|im_end|><|im_start|>assistant\n"),
        ("paligemma", "<image><bos>answer en Why\n"),
    ):
        encoded = families[family].encode([row("Why", image="a")], [picture])
        assert encoded.prompts == [wanted]


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        # transformers' tokenizers add nothing to a chat, whatever they add to other text.
        ("{{ messages[0]['content'] }}", ["▁Why"]),
        ("{{ bos_token }}{{ messages[0]['content'] }}", ["<s>", "▁Why"]),
    ],
)
def test_a_text_models_chat_has_the_bos_token_of_its_template_alone(template, wanted):
    words = sentence_pieces()
    words.chat_template, words.padding_side = template, "left"
    encoded = Prompter("tiny", words, words, "text", None).encode([row("Why")])
    assert words.convert_ids_to_tokens(ids_of(encoded)) == wanted
    chat = [{"role": "user", "content": "Why"}]
    theirs = words.apply_chat_template(chat, add_generation_prompt=True)
    assert ids_of(encoded) == theirs["input_ids"]
    completion = Prompter("tiny", words, words, "text", None).encode([row("Why", "completion")])
    assert words.convert_ids_to_tokens(ids_of(completion)) == ["<s>", "▁Why"]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        # Llama's, Gemma's, SmolLM2's and GPT-2's: the one begins with BOS and a space …
        (sentence_pieces(), "<s> ▁How ▁many ▁ 1 2 ?"),
        (sentence_pieces(bos="<bos>", eos="<eos>", prefix=False), "<bos> How ▁many ▁ 1 2 ?"),
        # … another has a BOS token that it puts nowhere.
        (byte_words(bos="<|im_start|>"), "Ho w Ġmany Ġ 1 2 ?"),
        (byte_words(bos="<|endoftext|>", eos="<|endoftext|>"), "Ho w Ġmany Ġ 1 2 ?"),
    ],
)
def test_a_completion_has_what_its_tokenizer_adds_before_it(words, wanted):
    encoded = Prompter("tiny", words, words, "text", None).encode([row("How many 12?", "plain")])
    assert words.convert_ids_to_tokens(ids_of(encoded)) == wanted.split()


def test_a_bos_token_that_begins_a_turn_is_there_once():
    words = byte_words(bos="<|im_start|>")  # SmolLM2's.
    encoded = Prompter("tiny", words, words, "text", None).encode([row("Why")])
    theirs = words.apply_chat_template(
        [{"role": "user", "content": "Why"}], add_generation_prompt=True
    )
    assert ids_of(encoded) == theirs["input_ids"]
    assert encoded.prompts == ["<|im_start|>user\nWhy<|im_end|>\n<|im_start|>assistant\n"]


@pytest.mark.parametrize("family", CONTROL)
def test_words_with_control_tokens_are_refused(families, family):
    prompter, picture = families[family], pictures_of(1)[0]
    for token in CONTROL[family].split():
        for style in ("chat", "completion"):
            with pytest.raises(DataError, match="The prompt holds "):
                prompter.encode([row(f"What is{token}?", style, "a")], [picture])


def test_added_tokens_are_control_tokens_where_the_template_writes_them():
    words = tokenizer()
    words.add_tokens(["<turn>", "<tool>", "\n"])
    words.chat_template = "<turn>\n{{ messages[0]['content'] }}"
    prompter = Prompter("tiny", words, words, "text", None)
    with pytest.raises(DataError, match="<turn>, which is a control token of tiny"):
        prompter.encode([row("What is <turn>?")])
    for text in ("What is <tool>?", "Why?\nHow?"):
        assert prompter.encode([row(text)]).prompts == [f"<turn>\n{text}"]


def test_a_completion_does_not_end_with_the_token_that_ends_answers():
    words = sentence_pieces()
    ends = [(token, words.convert_tokens_to_ids(token)) for token in ("<s>", "</s>")]
    words.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=ends
    )
    words.padding_side = "left"
    prompter = Prompter("tiny", words, words, "text", None)
    encoded = prompter.encode([row("Why", "completion"), row("How many", "completion")])
    names = [words.convert_ids_to_tokens(ids_of(encoded, index)) for index in range(2)]
    assert names == [["<pad>", "<s>", "▁Why"], ["<s>", "▁How", "▁many"]]
    assert encoded.n_tokens == [2, 3]
    assert encoded.inputs["attention_mask"].tolist() == [[0, 1, 1], [1, 1, 1]]


def test_an_answer_ends_where_generation_config_model_or_tokenizer_says():
    loaded = text_model("llama")
    asked = encode(loaded, [row("How many stars are there in the sky ?", "completion")])
    loaded.model.generation_config.eos_token_id = None
    new = generate(loaded, asked, 8, logits=False).sequences[0, -8:].tolist()
    first, second, third = dict.fromkeys(new[:3])
    places = (
        (None, None, third),
        (None, second, third),
        ([first], second, third),
    )
    for (generation, model, words), last in zip(places, (third, second, first), strict=True):
        loaded.model.generation_config.eos_token_id = generation
        loaded.model.config.eos_token_id = model
        tokenizer = loaded.tokenizer
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(words)
        again = prepare("llama", loaded.model, tokenizer, "text")
        ended = trace_batch(again, asked, 8).ids[0]
        assert ended == new[: new.index(last) + 1]


def test_a_template_that_writes_todays_date_writes_a_fixed_one(monkeypatch):
    class Later(datetime):
        @classmethod
        def now(cls):
            return cls(2031, 2, 3)

    monkeypatch.setattr(chat_template_utils, "datetime", Later)
    words = tokenizer()
    words.chat_template = (
        "{% if not date_string is defined %}{% if strftime_now is defined %}"
        "{% set date_string = strftime_now('%d %b %Y') %}{% else %}{% set date_string = 'none' %}"
        "{% endif %}{% endif %}{{ date_string }}: {{ messages[0]['content'] }}"
    )
    asked = row("Why")
    assert Prompter("tiny", words, words, "text", None).text(asked) == "26 Jul 2024: Why"
    other = Prompter("tiny", words, words, "text", None, date="2025-12-01")
    assert other.text(asked) == "01 Dec 2025: Why"
    assert chat_template_utils.datetime is Later  # Others' templates have their own clock back.


def test_a_model_is_asked_on_the_same_day_by_the_workflow_and_by_hand():
    schema = load_schema()["properties"]["extraction"]["properties"]["date"]
    assert schema["default"] == DATE == text_model("llama").prompter.date


def test_a_date_that_is_none_is_refused():
    with pytest.raises(ModelError, match='date "tomorrow" is no day: write YEAR-MONTH-DAY'):
        load_model("m", "packaged:lensbench-llava", date="tomorrow")


@pytest.mark.parametrize("family", ["text", "llava", "onevision", "qwen2vl"])
def test_a_prompt_goes_on_with_what_was_generated(family):
    loaded = text_model("llama") if family == "text" else image_model(family)
    pictures = [] if family == "text" else probe_pictures()[:1]
    asked = row("How many stars are there ?", image=None if family == "text" else "a.png")
    encoded = encode(loaded, [asked], pictures)
    output = generate(loaded, encoded, 3, logits=True)
    longer = encoded.followed_by(output.sequences[0, -3:-1].tolist())
    assert longer.n_tokens == [encoded.n_tokens[0] + 2]
    assert longer.image.sum() == encoded.image.sum()
    # The third step, without the cache that the steps before it left.
    again = generate(loaded, longer, 1, logits=True).logits[0]
    torch.testing.assert_close(again, output.logits[2], atol=1e-4, rtol=1e-4)


def test_a_tokenizer_without_a_token_that_ends_answers_reads_completions():
    words = tokenizer()
    words.eos_token = None
    prompter = Prompter("tiny", words, words, "text", None)
    made = prompter.encode([row("Why ?", "completion")])
    assert ids_of(made) == words("Why ?")["input_ids"]


def test_words_are_read_as_the_tokenizer_reads_them(families):
    with pytest.raises(DataError, match="<video>, which stands for a video"):
        families["smolvlm"].encode([row("What does <video> do?", "chat", "a")], [pictures_of(1)[0]])
    words = tokenizer()
    words.backend_tokenizer.normalizer = normalizers.NFKC()
    words.add_tokens([AddedToken("<|end|>", special=True, normalized=True)], special_tokens=True)
    prompter = Prompter("tiny", words, words, "text", None)
    with pytest.raises(DataError, match="control token"):
        prompter.encode([row("a \uff1c|end|\uff1e b", "completion")])


def test_embeddings_that_are_kept_apart_are_counted():
    split = torch.nn.Embedding(100, 4)
    split.num_additional_embeddings = 2
    model = SimpleNamespace(get_input_embeddings=lambda: split)
    assert embedding_rows(model) == 102
    model = SimpleNamespace(get_input_embeddings=lambda: torch.nn.Embedding(100, 4))
    assert embedding_rows(model) == 100
