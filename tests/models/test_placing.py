"""Large models: laid over the devices, held in few bits, and judged and noted as such."""

from __future__ import annotations

import ast
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from tests.planted import text_model
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PaliGemmaProcessor, PreTrainedTokenizerFast, SiglipImageProcessor

from lensbench import Lens
from lensbench.config import ROOT
from lensbench.errors import ModelError
from lensbench.inspection import describe
from lensbench.models import placing
from lensbench.models.checks import READOUT, READOUT_HALF
from lensbench.models.gate import run_gate
from lensbench.models.load import load_model
from lensbench.models.placing import Placing, refuse_offloaded
from lensbench.models.prompt import Prompter
from lensbench.models.source import PACKAGED

MODEL = "packaged:lensbench-onevision"


def test_model_laid_out_by_accelerate_reads_out_as_the_plain_one() -> None:
    plain = load_model("m", MODEL, device="auto")
    laid = load_model("m", MODEL, device="auto", device_map="auto")
    assert (plain.device_map, laid.device_map) == ("", "auto")
    read = [
        Lens(one.model, one.processor)("How many?", max_new_tokens=2).to_frame()
        for one in (plain, laid)
    ]
    assert read[0].equals(read[1])
    noted = describe(laid)
    assert (noted["device_map"], noted["quantization"]) == ("auto", "")
    assert {k: v for k, v in noted.items() if k != "device_map"} == {
        k: v for k, v in describe(plain).items() if k != "device_map"
    }


def test_device_that_is_named_takes_the_whole_model() -> None:
    assert Placing.checked("auto", "", "cpu") == Placing()
    assert Placing.checked("auto", "", "auto") == Placing("auto")
    loaded = load_model("m", MODEL, device="cpu", device_map="auto", verify=False)
    assert (loaded.device, loaded.device_map) == ("cpu", "")


@pytest.mark.parametrize("padding", [1, 9, 17, 33])
def test_where_a_file_s_weights_lie_changes_no_bit(tmp_path: Path, padding: int) -> None:
    """A longer header moves all weights of a mapped file; what is read must not follow."""
    folder = tmp_path / "moved"
    shutil.copytree(PACKAGED / "lensbench-onevision", folder)
    (file,) = folder.glob("*.safetensors")
    with safe_open(file, framework="pt") as weights:
        tensors = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
    save_file(tensors, file, metadata={"format": "pt", "padding": "x" * padding})
    read = []
    for source in (MODEL, f"folder:{folder}"):
        loaded = load_model("m", source, device="cpu", dtype="float32", verify=False)
        assert all(p.data_ptr() % 64 == 0 for p in loaded.model.parameters())
        ids = loaded.tokenizer("How many stars are there?", return_tensors="pt")
        with torch.no_grad():
            read.append(loaded.model(**ids).logits)
    assert torch.equal(*read)


def test_float32_is_float32_throughout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    load_model("m", MODEL, device="cpu", dtype="bfloat16", verify=False)
    assert torch.backends.cudnn.allow_tf32
    load_model("m", MODEL, device="cpu", dtype="float32", verify=False)
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    ("device_map", "quantization", "words"),
    [
        ("balanced", "", 'device_map "balanced" is unknown: use "auto" or leave it out.'),
        ("", "2bit", 'quantization "2bit" is unknown: use "8bit", "4bit" or leave it out.'),
    ],
)
def test_unknown_ways_are_refused(device_map: str, quantization: str, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_model("m", MODEL, device_map=device_map, quantization=quantization)
    assert str(caught.value) == words


def test_few_bits_need_a_library_and_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="8bit needs bitsandbytes, which is not installed: run `p"):
        load_model("m", MODEL, quantization="8bit")
    monkeypatch.setattr(placing, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ModelError, match="4bit needs a CUDA GPU, and the model shall run without"):
        load_model("m", MODEL, device="cpu", quantization="4bit")
    assert Placing.checked("", "4bit", "auto").quantization == "4bit"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="4bit needs a CUDA GPU"):
        load_model("m", MODEL, quantization="4bit")


def test_what_transformers_is_told() -> None:
    assert Placing().options(torch.float32, "cpu") == {}
    assert Placing().moves
    assert Placing("auto").options(torch.bfloat16, "cuda") == {"device_map": "auto"}
    told = Placing("", "4bit").options(torch.bfloat16, "cuda")
    assert told["device_map"] == {"": "cuda"}
    config = told["quantization_config"]
    assert (config.load_in_4bit, config.load_in_8bit) == (True, False)
    assert config.bnb_4bit_compute_dtype is torch.bfloat16
    assert Placing("", "8bit").options(torch.bfloat16, "cuda")["quantization_config"].load_in_8bit


def test_template_of_the_rule_asks_a_model_that_has_none(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(PACKAGED / "lensbench-onevision", folder)
    template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="or chat_template to the params of its rule"):
        load_model("m", f"folder:{folder}", device="cpu")
    told = load_model("m", f"folder:{folder}", device="cpu", chat_template=template)
    plain = load_model("m", MODEL, device="cpu", chat_template="not this one")
    row = {"prompt": "Why?", "style": "chat", "image": "x.png"}
    assert told.prompter.text(row) == plain.prompter.text(row)
    assert "not this one" not in plain.prompter.text(row)


def test_template_of_paligemma_asks_as_it_was_trained() -> None:
    """Its processor puts the sequence mark behind the picture and a line feed at the end."""
    rule = (ROOT / "workflow/rules/models/paligemma-3b.smk").read_text(encoding="utf-8")
    found = re.search(r"chat_template=(.*?),\n", rule, re.DOTALL)
    assert found is not None
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "answer", "en", "How", "many", "?", "\n"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(" ", "removed"),
            pre_tokenizers.Split(Regex(r"[?\n]"), "isolated"),
        ]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>",
        unk_token="<unk>", padding_side="left",
    )  # fmt: skip
    images = SiglipImageProcessor(size={"height": 8, "width": 8})
    images.image_seq_length = 4
    processor = PaliGemmaProcessor(images, fast, chat_template=ast.literal_eval(f"({found[1]})"))
    prompter = Prompter("m", processor, fast, "image-text", processor.image_token_id)
    row = {"prompt": "How many?", "style": "chat", "image": "x.png"}
    encoded = prompter.encode([row], [Image.new("RGB", (8, 8))])
    assert fast.convert_ids_to_tokens(encoded.inputs["input_ids"][0].tolist()) == [
        *["<image>"] * 4, "<bos>", "answer", "en", "How", "many", "?", "\n",
    ]  # fmt: skip
    assert encoded.n_image_tokens == [4]


@pytest.mark.parametrize(
    ("map_", "left"),
    [
        ({"a": 0, "b": "cpu"}, "cpu"),
        ({"a": 0, "b": 1, "c": "disk"}, "disk"),
        ({"": "disk"}, "disk"),
    ],
)
def test_parts_left_off_the_gpus_are_refused(map_: dict[str, object], left: str) -> None:
    with pytest.raises(ModelError, match=rf"are left on {left}\): use quantization="):
        refuse_offloaded("m", SimpleNamespace(hf_device_map=map_))


@pytest.mark.parametrize("map_", [{"": "cpu"}, {"": 0}, {"a": 0, "b": 1}, None])
def test_parts_on_devices_are_not(map_: dict[str, object] | None) -> None:
    model = SimpleNamespace() if map_ is None else SimpleNamespace(hf_device_map=map_)
    refuse_offloaded("m", model)


def test_few_bits_are_judged_as_half_floats() -> None:
    plain = text_model("llama")
    few = replace(plain, quantization="8bit")
    assert (plain.precision, few.precision) == ("float32", "bfloat16")
    limits = [
        {check.name: check.limit for check in run_gate(loaded).checks}["readout_logprob"]
        for loaded in (plain, few)
    ]
    assert limits[0] == READOUT["float32"]
    assert limits[1] >= READOUT_HALF


def test_parameters_held_in_four_bits_are_counted_whole() -> None:
    """Two of them make one byte, so a [6, 4] matrix is held as 12 bytes."""
    packed = torch.nn.Parameter(torch.zeros(12, 1, dtype=torch.uint8), requires_grad=False)
    packed.quant_state = SimpleNamespace(shape=torch.Size([6, 4]))  # type: ignore[attr-defined]
    other = torch.nn.Parameter(torch.zeros(5))
    model = SimpleNamespace(parameters=lambda: [packed, other])
    assert replace(text_model("llama"), model=model).n_parameters == 29
