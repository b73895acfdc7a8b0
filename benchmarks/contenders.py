"""Who is timed: every contender reads the same prompts with the same weights, each in a process.

A contender is a function that loads what it needs and returns what is timed. All but the plain
pass return the same things, at every layer of the last position: the ten likeliest tokens with
their log-probabilities, the entropy, the final token's rank and, in mode "heads", every head's row
of attention. lensbench computes the rest of its statistics besides, and the heads in both modes.

Run by harness.py, with the Python of the environment that a contender is installed in.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch import Tensor

import models

Outputs = dict[str, Tensor]


@dataclass(frozen=True)
class Task(models.Asked):
    """What a contender is given; `mode` is "lens" or "heads"."""

    tokens: int
    mode: str = "heads"
    k: int = 10

    def inputs(self, model: Any) -> dict[str, Tensor]:
        """Return the prompts: random tokens, all of one length, so without padding."""
        size = model.config.get_text_config().vocab_size
        ids = models.token_ids(size, self.batch, self.tokens, self.seed).to(self.device)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def build(self, attention: str = "sdpa") -> Any:
        """Return the model."""
        return models.build(self.model, self.dtype, self.device, self.seed, attention)


def statistics(layers: Iterable[Tensor], final: Tensor, k: int) -> Outputs:
    """Return what is asked for of each layer's logits [batch, V], given the model's own."""
    last, found = final.float().argmax(-1, keepdim=True), []
    for logits in layers:
        values = logits.float()
        logp = values.log_softmax(-1)
        top = logp.topk(k, dim=-1)
        entropy = -(logp.exp() * logp).sum(-1)
        rank = (values > values.gather(-1, last)).sum(-1)
        found.append((top.indices, top.values, entropy, rank))
    names = ("top_id", "top_logprob", "entropy_nats", "final_rank")
    columns = zip(*found, strict=True)
    return {name: torch.stack(part, 1) for name, part in zip(names, columns, strict=True)}


# In lensbench's own environment


def plain(task: Task) -> Callable[[], Outputs]:
    """The floor: one forward pass, with the key-value cache that a generation would fill."""
    model = task.build()
    inputs = task.inputs(model)
    return lambda: {"logits": model(**inputs, use_cache=True, logits_to_keep=1).logits[:, -1]}


def generate(task: Task) -> Callable[[], Outputs]:
    """The same pass inside `generate`, as lensbench asks for it: what `generate` itself costs."""
    model = task.build()
    inputs = task.inputs(model)
    options = {"max_new_tokens": 1, "do_sample": False, "pad_token_id": 0}

    def run() -> Outputs:
        output = model.generate(
            **inputs, **options, output_logits=True, return_dict_in_generate=True
        )
        return {"logits": output.logits[0]}

    return run


def lensbench(task: Task) -> Callable[[], Outputs]:
    """`trace_batch` for one step, then `read_out` with every statistic."""
    from lensbench.lens.generate import trace_batch
    from lensbench.lens.readout import read_out
    from lensbench.lexicon import LANGUAGES
    from lensbench.models.load import prepare
    from lensbench.models.prompt import Encoded
    from lensbench.models.views import unplaced
    from lensbench.scripts import SCRIPTS

    loaded = prepare(task.model, task.build(), models.tokenizer(task.model), "text")
    inputs, size = task.inputs(loaded.model), loaded.anatomy.vocab_size
    encoded = Encoded(
        inputs=inputs,
        prompts=[""] * task.batch,
        image=torch.zeros_like(inputs["input_ids"], dtype=torch.bool),
        first=torch.zeros(task.batch, dtype=torch.int64, device=task.device),
        n_tokens=[task.tokens] * task.batch,
        n_image_tokens=[0] * task.batch,
        layouts=[unplaced(0)] * task.batch,
    )
    # Groups as real ones are: each token in one script, most of them in the same; a concept of
    # twelve forms a sample.
    one_of = torch.arange(size, device=task.device)
    one_of = torch.where(one_of % 5 == 0, one_of // 5 % len(SCRIPTS), 0)
    scripts = torch.nn.functional.one_hot(one_of, len(SCRIPTS)).float()
    gold = torch.arange(100, 112, device=task.device).expand(task.batch, -1)
    languages = (gold - 100) % len(LANGUAGES)

    def run() -> Outputs:
        traced = trace_batch(loaded, encoded, 1, keep_rows=True)
        found = read_out(
            traced.residuals[:, 0],
            loaded.anatomy.logits,
            loaded.anatomy.logits,
            task.k,
            scripts,
            gold,
            languages,
            len(LANGUAGES),
        )
        names = ("top_id", "top_logprob", "entropy_nats", "final_rank")
        rows = traced.capture.rows[0]
        return {
            **{name: getattr(found, name) for name in names},
            "rows": torch.stack([rows[layer] for layer in sorted(rows)], 1),
        }

    return run


def transformers(task: Task) -> Callable[[], Outputs]:
    """transformers' own way: all hidden states of all positions and, eager, all attention."""
    model = task.build("eager" if task.mode == "heads" else "sdpa")
    inputs, heads = task.inputs(model), task.mode == "heads"
    norm = model.get_decoder().norm

    def run() -> Outputs:
        output = model(**inputs, output_hidden_states=True, output_attentions=heads)
        # transformers' last hidden state is behind the final norm, the others before it.
        *states, last = (layer[:, -1] for layer in output.hidden_states)
        normed = [*(norm(state) for state in states), last]
        layers = (model.lm_head(state) for state in normed)
        found = statistics(layers, output.logits[:, -1], task.k)
        if heads:
            found["rows"] = torch.stack([rows[:, :, -1] for rows in output.attentions], 1)
        return found

    return run


# In the peers' environment


def transformerlens(task: Task, everything: bool = False) -> Callable[[], Outputs]:
    """`run_with_cache`, keeping the activations that are needed, then `accumulated_resid`."""
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(
        task.model,
        hf_model=task.build("eager"),
        tokenizer=models.tokenizer(task.model),
        device=task.device,
        dtype=models.DTYPES[task.dtype],
    )
    ids, heads = task.inputs(bridge.original_model)["input_ids"], task.mode == "heads"
    blocks = range(bridge.cfg.n_layers)
    names = [f"blocks.{layer}.hook_resid_pre" for layer in blocks]
    names += [f"blocks.{blocks[-1]}.hook_resid_post"]
    names += [f"blocks.{layer}.attn.hook_pattern" for layer in blocks if heads]

    def run() -> Outputs:
        logits, cache = bridge.run_with_cache(ids, names_filter=None if everything else names)
        states = cache.accumulated_resid(apply_ln=True, pos_slice=-1)
        layers = (bridge.unembed(state) for state in states)
        found = statistics(layers, logits[:, -1], task.k)
        if heads:
            found["rows"] = torch.stack([cache["pattern", layer][:, :, -1] for layer in blocks], 1)
        return found

    return run


def transformerlens_all(task: Task) -> Callable[[], Outputs]:
    """The same with everything cached, as in TransformerLens' quick start."""
    return transformerlens(task, everything=True)


def nnsight(task: Task, every: bool = False, **options: Any) -> Callable[[], Outputs]:
    """A trace that reads each block's last position out with the model's own norm and head."""
    import nnsight as sight

    heads = task.mode == "heads"
    model = sight.TransformersModel(
        task.build("eager" if heads else "sdpa"),
        task="text-generation",
        tokenizer=models.tokenizer(task.model),
        dispatch=True,
    )
    inputs = task.inputs(model._module)
    # Every position through the head and then the last one, as in nnsight's page on the logit lens.
    before, after = (slice(None), -1) if every else (slice(-1, None), -1)

    def run() -> Outputs:
        with model.trace(**inputs, **options):
            layers, rows = sight.save([]), sight.save([])
            state = model.model.layers[0].input[:, before]
            layers.append(model.lm_head(model.model.norm(state))[:, after].clone())
            for block in model.model.layers:
                if heads:
                    _, weights = block.self_attn.source.attention_interface_1.output
                    rows.append(weights[:, :, -1].clone())
                state = block.output[:, before]
                layers.append(model.lm_head(model.model.norm(state))[:, after].clone())
            logits = model.output.logits.save()
        found = statistics(layers, logits[:, -1], task.k)
        if heads:
            found["rows"] = torch.stack(list(rows), 1)
        return found

    return run


def nnsight_all(task: Task) -> Callable[[], Outputs]:
    """The same with every position read out, as in nnsight's page on the logit lens."""
    return nnsight(task, every=True)


def nnsight_kept(task: Task) -> Callable[[], Outputs]:
    """The same with `logits_to_keep=1` handed through to transformers, kinder than its pages."""
    return nnsight(task, logits_to_keep=1)


CONTENDERS = {
    "plain": plain,
    "generate": generate,
    "lensbench": lensbench,
    "transformers": transformers,
    "transformerlens": transformerlens,
    "transformerlens-all": transformerlens_all,
    "nnsight": nnsight,
    "nnsight-all": nnsight_all,
    "nnsight-kept": nnsight_kept,
}
#: Those that run in the peers' environment; the second of each pair is asked for by --variants.
PEERS = ("transformerlens", "nnsight")
VARIANTS = ("transformerlens-all", "nnsight-all", "nnsight-kept")
#: What each one imports, before its memory is counted.
PACKAGES = {
    "lensbench": ("lensbench.models.gate", "lensbench.lens.readout", "lensbench.lexicon"),
    **dict.fromkeys((PEERS[0], VARIANTS[0]), ("transformer_lens.model_bridge",)),
    **dict.fromkeys((PEERS[1], *VARIANTS[1:]), ("nnsight",)),
}


# The process


def resident(peak: bool = False) -> float:
    """Return the memory that this process has in RAM, or had at most since `forget_peak`, MB."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(wanted))


def forget_peak(device: str) -> None:
    """Let the peak of memory count from here on."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    else:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as refs:
            refs.write("5")


def _peak(device: str, before: float) -> float:
    """Return the peak in MB: on a GPU what torch took, else what the process took since `before`.

    `before` is from before the model was loaded, so weights count and imported packages don't.
    """
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    return resident(peak=True) - before


def timed(run: Callable[[], Any], device: str, before: float) -> dict[str, float]:
    """Run once; returns seconds and the peak of memory in MB."""
    gc.collect()
    forget_peak(device)
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.synchronize()
    start, worked = time.perf_counter(), time.process_time()
    result = run()
    if cuda:
        torch.cuda.synchronize()
    seconds, cpu = time.perf_counter() - start, time.process_time() - worked
    peak = _peak(device, before)
    del result
    return {"seconds": seconds, "cpu_s": cpu, "peak_mb": peak}


def serve(
    prepare: Callable[[], Callable[[], Outputs]], device: str, packages: Iterable[str]
) -> None:
    """Load once, then obey one order a line: "save PATH" or "time"; replies are lines of JSON.

    Args:
        prepare: loads what is needed and returns what is timed.
        device: where it runs.
        packages: what is imported before memory is counted.
    """
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # What packages print must not stand among the replies.

    def reply(**found: Any) -> None:
        print(json.dumps(found), file=replies, flush=True)

    torch.set_grad_enabled(False)
    for package in packages:
        importlib.import_module(package)
    before = resident()
    with torch.inference_mode():
        run = prepare()
        reply(
            weights_mb=resident() - before,
            threads=torch.get_num_threads(),
            versions=_versions(),
        )
        for line in sys.stdin:
            order, _, path = line.strip().partition(" ")
            if order == "save":
                np.savez(path, **{key: v.float().cpu().numpy() for key, v in run().items()})
                reply(saved=path)
            else:
                reply(**timed(run, device, before))


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in ("torch", "transformers", "lensbench", "transformer-lens", "nnsight"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    asked = Task(**json.loads(sys.argv[1]))
    models.tokenizer(asked.model)  # Not counted as memory: nobody makes a prompt without one.
    serve(
        lambda: CONTENDERS[asked.contender](asked),
        asked.device,
        PACKAGES.get(asked.contender, ()),
    )
