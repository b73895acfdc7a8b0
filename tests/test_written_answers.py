"""A model that writes as Llama does, a space and then digit by digit, from prompt to metrics."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import torch
from tests.planted import written_manifest
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lensbench.ablation import _logprobs, _up_to_content
from lensbench.datasets.manifest import read_manifest, write_manifest
from lensbench.extract import ExtractOptions, extract_shard
from lensbench.feed import Batch, Prepared
from lensbench.inspection import inspect_model
from lensbench.metrics.run import MetricOptions, compute_run
from lensbench.models.load import LoadedModel, prepare
from lensbench.models.prompt import Encoded
from lensbench.trace import read_table

#: What is asked, what the model learns to write, and the gold.
QUESTIONS = (
    ("stars", "3", "number:3"),
    ("suns", "12", "number:12"),
    ("moons", "12", "number:1"),
    ("cats", "1", "number:1"),
    ("dogs", "1", "number:12"),
)


def tokenizer() -> PreTrainedTokenizerFast:
    """A SentencePiece vocabulary: ▁ for a space, a token a digit, words with their space."""
    vocabulary = {piece: place for place, piece in enumerate(["<unk>", "<s>", "</s>", "▁"])}
    merges = []
    for letter in sorted(set("0123456789?:howmanyAnswer" + "".join(q for q, _, _ in QUESTIONS))):
        vocabulary.setdefault(letter, len(vocabulary))
    for word in ("how", "many", "Answer", "one", *(question for question, _, _ in QUESTIONS)):
        piece = "▁"
        for letter in word:
            merges.append((piece, letter))
            piece += letter
            vocabulary.setdefault(piece, len(vocabulary))
    merges = list(dict.fromkeys(merges))
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        pad_token="</s>",
    )  # fmt: skip


class Made(NamedTuple):
    """The model, its trace of the questions, and their metrics."""

    loaded: LoadedModel
    shard: Path
    tables: dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Train a tiny Llama on the answers, trace it, and measure it."""
    words = tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=48, intermediate_size=96, num_hidden_layers=3,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
        bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    prompts = [f"how many {question}? Answer:" for question, _, _ in QUESTIONS]
    texts = [
        f"{prompt} {answer}" for prompt, (_, answer, _) in zip(prompts, QUESTIONS, strict=True)
    ]
    lessons = [words(text)["input_ids"] + [2] for text in texts]
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        for prompt, ids in zip(prompts, lessons, strict=True):
            labels = torch.tensor([ids])
            labels[:, : len(words(prompt)["input_ids"])] = -100
            model(torch.tensor([ids]), labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    root = tmp_path_factory.mktemp("written")
    data = written_manifest(root / "data", prompts)
    rows = read_manifest(data).assign(gold=[gold for *_, gold in QUESTIONS], language="digit")
    write_manifest(data, rows)
    loaded = prepare("llama", model.eval(), words, "text")
    inspect_model(loaded, root / "model")
    options = ExtractOptions(max_new_tokens=4, floor_directions=2)
    extract_shard(loaded, data, 0, 1, options, root / "shard", root / "model")
    tables = compute_run([root / "shard"], root / "model", MetricOptions(resamples=10))
    return Made(loaded, root / "shard", tables)


def test_the_model_writes_a_space_first(made: Made) -> None:
    samples = read_table(made.shard, "samples")
    assert samples["generated"].tolist() == ["3", "12", "12", "1", "1"]
    assert [ends.tolist() for ends in samples["generated_ends"][:2]] == [[0, 1, 1], [0, 1, 2, 2]]
    summary = made.tables["summary"].set_index("metric")["value"]
    assert summary["content_step_later"] == summary["answer_step_later"] == 1
    assert summary["without_content"] == summary["without_readable_gold"] == 0


def test_heads_are_ablated_at_the_content_step(made: Made) -> None:
    row = {"prompt": "how many stars? Answer:", "style": "completion", "image": None}
    batch = Batch((Prepared(row, made.loaded.prompter.encode([row])),), 2)
    [(letter, _)] = first_words(made.loaded, batch.encoded)
    [(digit, chance)] = first_words(made.loaded, _up_to_content(made.loaded, batch))
    assert (letter, digit) == ("▁", "3")
    # What the trace says of the answer is what ablation takes away from.
    traced = read_table(made.shard, "trajectory", step=1).query("sample_id == 's-0' and layer == 3")
    assert chance == pytest.approx(traced["final_logprob"].iloc[0], abs=1e-4)


def first_words(loaded: LoadedModel, encoded: Encoded) -> list[tuple[str, float]]:
    best = _logprobs(loaded, encoded).max(-1)
    words = loaded.tokenizer.convert_ids_to_tokens(best.indices.tolist())
    return list(zip(words, best.values.tolist(), strict=True))


def test_what_is_written_is_right_or_wrong(made: Made) -> None:
    tables = made.tables
    # A written 12 is right for 12 and wrong for 1, a written 1 the other way round.
    last = tables["accuracy_by_answer"].query("layer == 3").set_index("answer")
    assert last["value"].to_dict() == {"number:1": 0.5, "number:12": 0.5, "number:3": 1}
    assert last["n"].to_dict() == {"number:1": 2, "number:12": 2, "number:3": 1}
    summary = tables["summary"].set_index("metric")
    for name in (
        "accuracy",
        "accuracy_lenient",
        "accuracy_generated",
        "accuracy_generated_lenient",
    ):
        assert summary.loc[name, ["value", "n"]].tolist() == [pytest.approx(0.6), 5], name
    right = tables["convergence"].dropna(subset="correct_final")
    assert right["step"].tolist() == [1] * 5
    assert right["correct_final"].tolist() == [1, 1, 0, 1, 0]


def test_first_tokens_that_golds_share_are_left_out_and_counted(
    made: Made,
) -> None:
    shard, tables = made.shard, made.tables
    # 1 begins 12: it stands for neither; 3 stands for itself, and "one" for 1.
    rows = read_table(shard, "trajectory", step=1).merge(read_table(shard, "samples"))
    known = rows.groupby("gold")["gold_rank"].min() >= 0
    assert known.to_dict() == {"number:1": True, "number:12": False, "number:3": True}
    last = rows[(rows["layer"] == 3) & (rows["gold"] == "number:1")]
    assert (last["gold_rank"] > 0).all()
    summary = tables["summary"].set_index("metric")
    assert summary.loc["n_without_gold_form", ["value", "n"]].tolist() == [2, 5]
    assert summary.loc["concept_forms_left_out", "value"] > 0


def test_other_lenses_read_the_content_step(made: Made) -> None:
    lenses = read_table(made.shard, "lenses").query("lens == 'raw'").set_index("sample_id")
    words, model = made.loaded.tokenizer, made.loaded.model
    for row in read_table(made.shard, "samples").itertuples():
        # Against a plain pass over the prompt and the blank that was written after it.
        ids = [*words(row.prompt)["input_ids"], row.generated_ids[0]]
        with torch.no_grad():
            states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
            naive = [int(model.lm_head(state[0, -1]).argmax()) for state in states[:-1]]
        assert lenses.loc[row.sample_id].sort_values("layer")["top_id"].tolist()[:-1] == naive
    steps = read_table(made.shard, "trajectory", step=1)
    for metric in ("entropy_nats", "js_to_final_nats"):
        found = made.tables["by_layer"].query("metric == @metric").sort_values("layer")["value"]
        wanted = steps.groupby("layer")[metric].mean()
        assert found.tolist() == pytest.approx(wanted.tolist(), rel=1e-5)
