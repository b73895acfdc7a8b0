# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A language model's heat map
#
# Layers downwards, generated tokens sideways, and in each cell the token that a layer would have
# said: the picture that most readers know the logit lens by. It comes in two versions that need
# not agree. One reads every layer through the model's final norm, the other leaves the norm out.
# This notebook draws both on the same text, measures where they agree, takes apart why they need
# not, and holds the readout against two other implementations.

# %%
from IPython.display import display

from lensbench import Lens, peers, prose
from lensbench.figures import FIGURES, RUN_FIGURES, raw_normed
from lensbench.figures.frames import read_tables
from lensbench.raw_normed import by_layer, read_both, sureness

settings = prose.options(
    model="", prompt="The capital of Italy is Rome, and the capital of France is", tokens=8
)
results = prose.results_folder()
tables = read_tables(results / "metrics", ["models", "heads", "lenses", "answer_way", "tokens"])
model, dataset = prose.text_run(tables["heads"], settings["model"], prefer="gpt2")
prose.say(f"Read here: {prose.quoted(model)}, on the dataset {prose.quoted(dataset)}.")

# %% [markdown]
# ## The heat map
#
# The first samples of the run, through the normed lens.

# %%
tokens = tables["tokens"].query("model == @model and dataset == @dataset")
prose.drawn(RUN_FIGURES["tokens"].draw({"tokens": tokens}), RUN_FIGURES["tokens"].caption)

# %%
page = results / "explorer" / "index.html"
prose.say(
    "The same with a pointer: [the explorer](../explorer/index.html) has a page for each sample."
    if page.is_file()
    else "These results have no explorer, where each sample would have a page."
)

# %% [markdown]
# ## The same text through both lenses
#
# The model is asked now, and answers greedily; both lenses read the very same pass. The raw lens of
# `Lens` leaves the last layer as the model has it.

# %%
# The workflow has put these weights through the gate before any sample (results/models).
lens = Lens.from_pretrained(model, verify=False)
for kind in ("normed", "raw"):
    look = lens(
        settings["prompt"], max_new_tokens=settings["tokens"], k=1, lens=kind, style="plain"
    )
    display(prose.drawn(look.plot(), f"{kind} lens, steps of the answer: {look.generated}"))

# %% [markdown]
# ## Where they agree
#
# First over all samples of each run: the share in which both lenses have the same token on top, at
# the layer where they agree most and where they do least (embeddings and last layer aside; none is
# named where the intervals of the two overlap) and at the last, where the raw lens leaves the norm
# out too.

# %%
same = tables["lenses"].query("metric == 'same_top1_as_main'").copy()
last_layer = same.groupby(["model", "dataset"])["layer"].transform("max")
inner = same[(same["layer"] > 0) & (same["layer"] < last_layer)]
best = inner.loc[inner.groupby(["model", "dataset"])["value"].idxmax()]
least = inner.loc[inner.groupby(["model", "dataset"])["value"].idxmin()]
ends = same[same["layer"] == last_layer]
joined = best.merge(least, on=["model", "dataset"], suffixes=("", " least"))
joined = joined.merge(ends, on=["model", "dataset"], suffixes=("", " last"))


def said(row, which):
    return prose.interval({key: row[f"{key}{which}"] for key in ("value", "low", "high", "n")})


# A layer is named only where the shares differ: the interval of the most lies above the fewest's.
for column in ("layer", "layer least"):
    differ = joined["low"] > joined["high least"]
    joined[column] = joined[column].astype(str).where(differ, "no peak")
joined["most"] = [said(row, "") for _, row in joined.iterrows()]
joined["fewest"] = [said(row, " least") for _, row in joined.iterrows()]
joined["end"] = [said(row, " last") for _, row in joined.iterrows()]
prose.grid(
    joined,
    {"model": "model", "dataset": "dataset", "layer": "layer where most agree",
     "most": "share there", "layer least": "layer where fewest do", "fewest": "share there ",
     "end": "share at the last layer"},
)  # fmt: skip

# %%
shown = tables["lenses"].query("model == @model and dataset == @dataset")
prose.drawn(FIGURES["lenses"].draw({"lenses": shown}), FIGURES["lenses"].caption)

# %% [markdown]
# ## Why they need not
#
# A norm changes a state's length and its direction. Logits of a state and of the same state made
# longer are in the same order, as long as the unembedding has no bias: which token is *on top* is a
# matter of the direction alone, by construction and whatever the model. How *sure* a readout sounds
# may depend on either, and that is measured. Each state of the answer above is read four ways:
# normed, raw, the raw direction at the normed length, and the normed direction at the raw length.

# %%
table, answer = read_both(lens, settings["prompt"], settings["tokens"], style="plain")
layers = by_layer(table)
prose.drawn(raw_normed.draw({"raw_normed": layers}), raw_normed.CAPTION)


# %%
def at(metric, layer, reading=""):
    rows = layers.query("metric == @metric and layer == @layer and reading == @reading")
    return rows.iloc[0]


deepest = int(layers["layer"].max())
middle = deepest // 2
before = deepest - 1
prose.say(
    f"In the middle (layer {middle}) the raw reading has the normed one's token on top in a share "
    f"of {prose.interval(at('same_top1', middle, 'raw'))} of the steps, the raw direction at the "
    f"normed length in {prose.interval(at('same_top1', middle, 'length'))}, the normed direction "
    f"at the raw length in {prose.interval(at('same_top1', middle, 'direction'))}. That the "
    f"length makes no difference here is no finding: it can't, for the order of logits is that of "
    f"the direction. The state and the same state after the norm have a cosine of "
    f"{prose.interval(at('cosine', middle))} there, and of {prose.interval(at('cosine', before))} "
    f"before the last block.\n\n"
    f"And the length: it is {prose.interval(at('norm', 0), 1)} after the embeddings and "
    f"{prose.interval(at('norm', deepest), 1)} after the last block, where the norm makes it "
    f"{prose.interval(at('normed_norm', deepest), 1)}. At layer {before} the token on top has a "
    f"probability of {prose.interval(at('probability', before, 'raw'))} in the raw reading, "
    f"{prose.interval(at('probability', before, 'direction'))} with the normed direction at the "
    f"raw length, and {prose.interval(at('probability', before, 'normed'))} in the normed one. "
    f"{sureness(layers, before)}"
)

# %% [markdown]
# ## Beside other implementations
#
# What nnsight (in the idiom of its tutorial: the norm and the unembedding called on every block's
# output) and TransformerLens read of the same weights was recorded in their own environments. Read
# anew here, on the same prompts: the share of layers with the same token on top, and the largest
# difference of a log-probability over all layers and recorded tokens. The raw lens stands below, to
# show what leaving the norm out would amount to.

# %%
from lensbench.errors import LensbenchError

try:
    known = tables["models"]["model"].tolist()
    other = "smollm2-135m"
    reader = lens
    if model != other and other in known:
        reader = Lens.from_pretrained(other, verify=False)
    agreement = peers.agreement(reader)
    shown = prose.grid(
        peers.summary(agreement),
        {"peer": "implementation", "version": "version", "lens": "our lens", "prompts": "prompts",
         "layers": "layers compared", "same_top1": "share with the same top token",
         "largest_nats": "largest difference (nats)"},
    )  # fmt: skip
except LensbenchError as error:
    agreement, shown = None, prose.say(f"Not compared: {prose.quoted(error)}")
display(shown)

# %%
if agreement is not None:
    display(
        prose.grid(
            agreement,
            {"peer": "implementation", "prompt": "prompt", "lens": "our lens",
             "n_layers": "layers", "same_top1": "share with the same top token",
             "largest_nats": "largest difference (nats)"},
            caption="Prompt by prompt",
        )
    )  # fmt: skip

# %% [markdown]
# ## What this does not show
#
# - That the normed lens is right. It agrees with the model at the last layer, for the model does
#   the same there; at the layers below, it is one way to read a state that was never meant to be
#   read.
# - The figure of the four readings is of one text. Its steps depend on one another, and its
#   intervals say how much they differ, not what another text would give. The table over all samples
#   is what generalises, to the prompts of that dataset.
# - Another architecture's norm may also subtract a mean and add a bias. The four readings hold for
#   these too, but which part of the norm turns the direction is not told apart.
# - Two implementations that agree may share a mistake; that is what the gate is for, which compares
#   the last layer with the model's own logits.
