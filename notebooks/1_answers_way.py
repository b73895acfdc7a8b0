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
# # The answer's way through the layers
#
# A picture of one plain color, and the question what color it is: which token does each layer put
# on top where the answer is about to be written, and at which rank does it hold the token that the
# model finally says? The logit lens reads the residual stream of that position at every layer as if
# it were the last: through the final norm and the unembedding (*normed*), or through the
# unembedding alone (*raw*). The study that this repeats read raw; here both stand beside each
# other, for one sample and over all of them.

# %%
from lensbench import prose
from lensbench.figures import FIGURES, RUN_FIGURES
from lensbench.figures.frames import published, read_table, read_tables
from lensbench.metrics.tables import peak_layer
from lensbench.published import ranks_beside

settings = prose.options(dataset="fills", gold="color:red")
results = prose.results_folder()
names = ["summary", "lenses", "by_layer", "answer_way", "accuracy_by_language", "models"]
tables = read_tables(results / "metrics", names)
runs = {
    name: table[table["dataset"] == settings["dataset"]]
    for name, table in tables.items()
    if name != "models"
}
models = list(runs["answer_way"]["model"].unique())
prose.say(
    f"Read here: the dataset {prose.quoted(settings['dataset'])}, with "
    f"{', '.join(prose.quoted(model) for model in models)}."
    if models
    else f"These results have no run on the dataset {prose.quoted(settings['dataset'])}: only the "
    "published numbers below have something to show. Add a model and a dataset with pictures to "
    "the configuration, or name another dataset in the settings."
)

# %% [markdown]
# ## One sample, raw beside normed
#
# The first sample of each answer, layer by layer. A mark at a cell's left: this is the token that
# the model generates.

# %%
from IPython.display import display

for model in models:
    rows = runs["answer_way"].query("model == @model")
    figure = RUN_FIGURES["answer_way"].draw({"answer_way": rows})
    display(prose.drawn(figure, f"{model}. {RUN_FIGURES['answer_way'].caption}"))

# %% [markdown]
# The same as a table, for the first sample of the color asked for: the token on top, its
# probability, and the rank of the final token (0 is the top).

# %%
for model in models:
    rows = runs["answer_way"].query("model == @model and gold == @settings['gold']")
    rows = rows[rows["sample_id"] == rows["sample_id"].min()]
    both = rows[rows["lens"] == "normed"].merge(
        rows[rows["lens"] == "raw"], on="layer", suffixes=("", " raw"), how="left"
    )
    columns = {
        "layer": "layer", "text raw": "raw: top token", "probability raw": "raw: its probability",
        "final_rank raw": "raw: rank of the answer", "text": "normed: top token",
        "probability": "normed: its probability", "final_rank": "normed: rank of the answer",
    }  # fmt: skip
    if len(both):
        sample, answer = both["sample_id"].iloc[0], both["final_text"].iloc[0]
        display(prose.grid(both, columns, caption=f"{model}, {sample}, answer: {answer}"))

# %% [markdown]
# ## All samples
#
# How far down the answer is, by layer and lens, and in how many samples it is on top. Bands and
# brackets are 95 % intervals.

# %%
if models:
    figure = FIGURES["lenses"].draw({"lenses": runs["lenses"]})
    display(prose.drawn(figure, FIGURES["lenses"].caption))

# %% [markdown]
# The layer from which on the answer stays on top, and how often the raw lens has it on top at the
# last layer, where the model itself always has.

# %%
wanted = {
    "first_hit_layer": "first on top (normed)",
    "convergence_layer": "on top for good (normed)",
    "raw_convergence_layer": "on top for good (raw)",
    "raw_last_layer_agreement": "on top at the last layer (raw)",
}
found = runs["summary"].query("metric in @wanted")
found = found.assign(said=[prose.interval(row) for _, row in found.iterrows()])
wide = found.pivot(index="model", columns="metric", values="said").reset_index()
wide = wide.merge(tables["models"][["model", "n_layers"]], on="model")
columns = {"model": "model", "n_layers": "layers"}
columns |= {name: title for name, title in wanted.items() if name in wide}
if models:
    display(prose.grid(wide, columns))

# %% [markdown]
# Both lenses read the same samples, so that they are compared sample by sample: the layer of the
# raw lens less that of the normed one, with the interval of this difference. Whether the intervals
# of two means overlap would say less.

# %%
sentences = []
for model in models:
    rows = runs["summary"].query("model == @model").set_index("metric")
    if "raw_minus_normed_convergence_layer" not in rows.index:
        continue
    gap = rows.loc["raw_minus_normed_convergence_layer"]
    said = (
        "later under the raw lens"
        if gap["low"] > 0
        else "earlier under the raw lens"
        if gap["high"] < 0
        else "no difference in these samples"
        if gap["low"] == gap["high"]
        else "which of the two is later can't be told"
    )
    sentences.append(
        f"- {prose.quoted(model)}: raw less normed is {prose.interval(gap)} layers: {said}."
    )
if models:
    display(prose.say("\n".join(sentences) or "No run was read through both lenses."))

# %% [markdown]
# ## What changes after the color is found
#
# The first layer with a form of the right color on top need not have the final token: case, a
# leading space or the language of the form may still change.

# %%
path = results / "metrics" / "answer_path.csv"
if path.is_file():
    changes = read_table(path).query("dataset == @settings['dataset'] and family == 'all'")
    changes = changes.assign(said=[prose.interval(row) for _, row in changes.iterrows()])
    columns = {"model": "model", "asked": "asked for", "metric": "what",
               "said": "value (95 % interval, n)"}  # fmt: skip
    if len(changes):
        display(prose.grid(changes, columns))
elif models:
    display(prose.say("These results have no table `answer_path`: it is not shown here."))

# %% [markdown]
# In which language the top token is right, where the question asks for one: the largest share that
# a language reaches at a layer after the embeddings and before the last, beside its share at the
# last. The largest of many shares leans upwards, for it is picked after the fact and so is its
# layer; the interval beside it is that of the one layer, as if it had been named beforehand. Where
# it doesn't lie above the interval of the layer with the smallest share, nothing peaks. A peak
# above the end is a hint, and no test of one.

# %%
spoken = runs["accuracy_by_language"]
last = spoken[spoken["layer"] == spoken.groupby("model")["layer"].transform("max")]
before = spoken[
    (spoken["layer"] > 0) & (spoken["layer"] < spoken.groupby("model")["layer"].transform("max"))
]
keys = ["model", "asked", "language"]
peak = before.loc[before.groupby(keys)["value"].idxmax()]
peak = peak[peak["value"] > 0].merge(last, on=keys, suffixes=("", " last"))
peaks = {names: peak_layer(rows) for names, rows in before.groupby(keys)}
peak = peak.assign(
    layer=[str(peaks[names] or "no peak") for names in peak[keys].itertuples(index=False)],
    peak=[prose.interval(row) for _, row in peak.iterrows()],
    end=[
        prose.interval({k: row[f"{k} last"] for k in ("value", "low", "high", "n")})
        for _, row in peak.iterrows()
    ],
)
columns = {
    "model": "model", "asked": "asked for", "language": "language of the form",
    "layer": "layer of the peak", "peak": "share there", "end": "share at the last layer",
}  # fmt: skip
if len(peak):
    display(prose.grid(peak, columns))

# %% [markdown]
# ## Beside the published numbers
#
# Published for LLaVA-OneVision-Qwen2-0.5B, one plain red picture, raw lens: rank 75,406 of the
# final token at layer 12, and " red" first on top at layer 21 of 24. Ranks count from 0 here, from
# 1 there.

# %%
theirs = published("final_rank")
worst = theirs.loc[theirs["value"].idxmax()]
color = settings["gold"].partition(":")[2]
found_first = theirs[theirs["top1_token"].str.strip().str.lower() == color]
there = "no layer has a form of that color on top"
if len(found_first):
    first = found_first.iloc[0]
    there = f"the first layer with a form of {prose.quoted(color)} on top is {first['layer']} of "
    there += f"{theirs['layer'].max()}: {prose.quoted(first['top1_token'])}"
prose.say(
    f"In the transcribed table the final token is deepest at layer {worst['layer']}, at rank "
    f"{prose.number(worst['value'], 0)} counted from 0, which is "
    f"{prose.number(worst['value'] + 1, 0)} counted from 1; {there}."
)

# %%
beside = ranks_beside(theirs, runs["answer_way"], settings["gold"])
same = beside["model"].eq(theirs["model"].iloc[0]).any()
if len(beside):
    display(
        prose.say(
            "The same model is among these runs: `difference` is ours less theirs, at the same "
            "layer."
            if same
            else "The published model is not among these runs. The table holds its layers against "
            "those of other models at the nearest depth: it shows where they lie, and no "
            "difference is taken, for ranks of other vocabularies and models are not to be "
            "subtracted."
        )
    )
columns = {
    "layer": "layer", "depth": "depth", "token": "published: top token", "rank": "published: rank",
    "our_layer": "our layer", "our_depth": "our depth", "our_token": "our top token",
    "our_rank": "our rank",
}  # fmt: skip
if same:
    columns["difference"] = "difference"
for (model, sample), rows in beside.groupby(["model", "sample_id"]):
    display(prose.grid(rows, columns, caption=f"{model}, {sample}, raw lens"))

# %% [markdown]
# ## What this does not show
#
# - A lens reads what a *linear* readout finds at a layer, not what the model "believes" there: a
#   token that is not on top may be there in another form.
# - A rank of the raw lens is not to be held against a rank of the normed one. Why they differ is
#   measured in the study of a language model's heat map.
# - The published numbers are those of one picture and have no interval.
# - Plain colors are the simplest pictures there are. The layers at which their names appear need
#   not be those at which anything else does.
# - The models run by default are small ones trained for this project. They show that the
#   measurement works and nothing about models of another size.
