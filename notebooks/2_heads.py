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
# # Which heads look at the picture
#
# Where the answer is about to be written, each head of each block spreads one unit of attention
# over the positions before it: over the picture, over the text, and over the first position, the
# sink that heads attend to when they have nothing to attend to. A study of 25 flower photographs
# showed these masses head by head, and called heads with a large mass on the picture image heads.
# This notebook repeats it with intervals, and asks what the study could not tell: does the answer
# *depend* on those heads? They are switched off, and for comparison as many others, group by group.

# %%
from IPython.display import display

from lensbench import prose
from lensbench.figures import FIGURES
from lensbench.figures.frames import published, read_tables
from lensbench.published_heads import head_differences, kinds_beside, verdict

settings = prose.options(dataset="")
results = prose.results_folder()
names = ["heads", "stages", "head_summary", "ablation", "ablation_contrast", "models"]
tables = read_tables(results / "metrics", names)
# Photographs where they were run, drawn flowers where they were not.
flowers = ["oxford_flowers", "tf_flowers", "flowers"]
settings["dataset"] = settings["dataset"] or prose.first_of(tables["heads"], flowers)
runs = {
    name: table if name == "models" else table[table["dataset"] == settings["dataset"]]
    for name, table in tables.items()
}
models = list(runs["head_summary"]["model"].unique())
summary = runs["head_summary"].set_index(["model", "among", "metric"])
#: Without a picture there is nothing to look at: these say so once instead of empty tables.
seen = bool((runs["heads"]["image_mass"] > 0).any())
switched = len(runs["ablation_contrast"]) > 0


def told(model, among, metric):
    return prose.interval(summary.loc[(model, among, metric)])


def share_of(model):
    return runs["heads"].query("model == @model")["picture_share"].mean()


def has_image_heads(model):
    return (model, "image", "image_mass") in summary.index


prose.say(
    f"Read here: the dataset {prose.quoted(settings['dataset'])}, with "
    f"{', '.join(prose.quoted(model) for model in models)}."
    if seen
    else f"These results have no picture in the dataset {prose.quoted(settings['dataset'])}: no "
    "head attends to one, and what follows has nothing to show. Add a model and a "
    "dataset with pictures to the configuration, or name another dataset in the settings."
)

# %% [markdown]
# ## Every head
#
# The mean over samples of each head's mass on the picture's positions. Where the published model
# was run, its printed heads stand beside it.

# %%
if seen:
    figure = FIGURES["heads"]
    shown = {"heads": runs["heads"], "stages": runs["stages"], "published": published("heads")}
    display(prose.drawn(figure.draw(shown), figure.caption))

# %% [markdown]
# ## Specialisation and stages
#
# How much of a head's attention falls on the picture says little where the picture is most of the
# positions: attention without any preference would fall on it too. A head's kind is therefore by
# the odds ratio [m ÷ (1 − m)] ÷ [s ÷ (1 − s)] of its mass m and the picture's share s of the
# positions, the sink left out of both: an image head where the ratio's interval lies above 2, a
# text head where it lies below ½, and else mixed. The studies' rule (by mass: image from 0.8 on,
# text up to 0.2, whatever the share) stands beside it. The separation index is the mean of |2m − 1|
# over heads and samples: 1 if every head is all image or all text in every sample, 0 if all are
# half and half.

# %%
for model in models if seen else []:
    display(
        prose.say(
            f"{prose.quoted(model)}: the share of image heads is "
            f"{told(model, 'all', 'share_image')}, of mixed heads "
            f"{told(model, 'all', 'share_mixed')} and of text heads "
            f"{told(model, 'all', 'share_text')}; by mass alone they would be "
            f"{told(model, 'all', 'share_image_by_mass')}, "
            f"{told(model, 'all', 'share_mixed_by_mass')} and "
            f"{told(model, 'all', 'share_text_by_mass')}. The picture has "
            f"{prose.number(share_of(model))} of the positions. The separation index is "
            f"{told(model, 'all', 'separation')}."
        )
    )

# %% [markdown]
# Stages are segments of the blocks' mean image mass between change-points.

# %%
columns = {
    "model": "model", "stage": "stage", "first_layer": "from block", "last_layer": "to block",
    "image_mass": "mean image mass", "low": "low", "high": "high", "n": "n",
}  # fmt: skip
if seen:
    display(prose.grid(runs["stages"].astype({"stage": int}), columns))

# %% [markdown]
# ## Spread over the picture, with and without the sink
#
# How spread a head is over the picture: the largest weight on one position, and spread, which is
# its entropy over the picture's positions divided by the logarithm of their number: 0 is one spot,
# 1 is even. Mass is a sum; without the sink it is the picture's share of what the sink leaves.

# %%
if seen:
    figure = FIGURES["head_spread"]
    display(prose.drawn(figure.draw({"heads": runs["heads"]}), figure.caption))

# %%
measures = ["image_mass", "sink_mass", "text_mass", "image_mass_no_sink", "spread",
            "image_max"]  # fmt: skip
rows = runs["head_summary"].query("metric in @measures")
columns = {
    "model": "model", "among": "heads", "metric": "metric", "value": "mean", "low": "low",
    "high": "high", "n": "n",
}  # fmt: skip
if seen:
    display(prose.grid(rows, columns, digits=3))

# %%
for model in filter(has_image_heads, models):
    display(
        prose.say(
            f"The image heads of {prose.quoted(model)} have a mass on the picture of "
            f"{told(model, 'image', 'image_mass')}, without the sink "
            f"{told(model, 'image', 'image_mass_no_sink')}; their largest single weight is "
            f"{told(model, 'image', 'image_max')} and their spread "
            f"{told(model, 'image', 'spread')}."
        )
    )

# %% [markdown]
# ## Seen twice: overview and tiles
#
# Some models see a picture whole and again in tiles. Their mass on it is counted apart: on the
# overview, and on the tiles with the positions that end a tile's lines. If attention were spread
# evenly over the picture's positions, the overview would have its share of them.

# %%
if seen:
    figure = FIGURES["head_views"]
    shown = {"heads": runs["heads"], "head_summary": runs["head_summary"]}
    display(prose.drawn(figure.draw(shown), figure.caption))

# %%
for model in models if seen else []:
    if summary.loc[(model, "all", "tiles_mass"), "value"] > 0:
        among = "image" if has_image_heads(model) else "all"
        display(
            prose.say(
                f"{prose.quoted(model)}: the overview has "
                f"{told(model, 'all', 'overview_positions')} of the picture's positions and "
                f"{told(model, among, 'overview_share')} of the image mass of "
                f"{'its image heads' if among == 'image' else 'all heads'}, the tiles have "
                f"{told(model, among, 'tiles_share')}."
            )
        )

# %% [markdown]
# ## Beside the published heads
#
# The study printed the first 32 heads of LLaVA-OneVision-Qwen2-0.5B, two blocks of heads and part
# of a third. Head by head it can be compared with a run of that model alone; of other models, the
# table counts the kinds of all heads by mass, the study's rule, down to the same block, in depth.

# %%
theirs = published("heads")
n_layers = int(published("final_rank")["layer"].max())
if seen:
    display(prose.grid(kinds_beside(theirs, n_layers, runs["heads"])))

# %%
differences = head_differences(theirs, runs["heads"])
if len(differences):
    display(prose.grid(differences, digits=3))
elif seen:
    display(prose.say("The published model was not run here, so no head has a difference."))

# %% [markdown]
# ## Switched off: is the mass causal?
#
# A head is switched off by setting its output to zero before the output projection, at every
# position or at the last one alone, and the answer is read again. The image group holds the image
# heads, at most a quarter of all heads and half of a block, those of the largest odds ratio (all of
# them are a group of their own then); where they are few, the largest odds ratios of all. Each
# random group has as many heads in each block, drawn from the block's other heads, and no two are
# the same. The least are as many heads of the smallest odds ratio, whatever their block. How each
# group was chosen, and of how many possible ones, is printed with it.

# %%
if switched:
    figure = FIGURES["ablation"]
    shown = {name: runs[name] for name in ("ablation", "ablation_contrast", "models")}
    display(prose.drawn(figure.draw(shown), figure.caption))
else:
    display(prose.say("No heads were switched off on this dataset, so there is nothing to show."))

# %%
columns = {
    "model": "model", "where": "where", "measure": "measure", "against": "image heads less",
    "n_heads": "heads off", "value": "difference", "low": "low", "high": "high", "n": "n",
    "p": "p (two-sided)", "p_floor": "smallest p possible", "p_holm": "Holm's p",
    "holm_runs": "over runs", "n_random": "random groups",
}  # fmt: skip
if switched:
    display(prose.grid(runs["ablation_contrast"], columns, digits=3))

# %% [markdown]
# Two things are uncertain here, and no number covers both. The interval of a difference draws
# samples and takes the groups as given; p places the image group among the random ones and takes
# these samples as given. It is two-sided: twice the smaller of (1 + groups at least as strong) ÷ (1
# + groups) and (1 + groups at most as strong) ÷ (1 + groups), and at most 1. Each run has one
# primary contrast: image heads less random ones, at every position, in the log-probability of the
# model's own answer. Its p is corrected for the number of runs by Holm's procedure, over all runs
# of these results. It is called a difference only where both agree: the interval leaves out zero
# and Holm's p is at most a twentieth. Where so few groups for so many runs allow no such p, that is
# said instead. All else is printed without a claim.

# %%
contrast = runs["ablation_contrast"].query("measure == 'final_logprob'")
single = runs["ablation"].query("measure == 'final_logprob'").set_index(["model", "where", "group"])
least_of = contrast.query("against == 'least'").set_index(["model", "where"])
places = {"all": "at every position", "last": "at the last position alone"}
for _, row in contrast.query("against == 'random'").iterrows():
    image, random, least = (
        single.loc[(row["model"], row["where"], group)]
        for group in ("image", "random-mean", "least")
    )
    other = least_of.loc[(row["model"], row["where"])]
    primary = row["holm_runs"] > 0
    corrected = (
        f"Holm's p over {int(row['holm_runs'])} runs = {prose.number(row['p_holm'], 3)}"
        if primary
        else "not corrected"
    )
    claim = f"In these samples, {verdict(row, other)}." if primary else ""
    display(
        prose.say(
            f"{prose.quoted(row['model'])}, {int(row['n_heads'])} heads off "
            f"{places[row['where']]}: the log-probability of its own answer changes by "
            f"{prose.interval(image)} nats for the image group ({prose.quoted(image['rule'])}), by "
            f"{prose.interval(random)} in the mean of {int(row['n_random'])} random groups "
            f"({prose.quoted(random['rule'])}) and by {prose.number(row['random_median'])} in the "
            f"median one, and by {prose.interval(least)} for as many heads that look least. Image "
            f"less mean of random: {prose.interval(row)}; p = {prose.number(row['p'], 3)} (no "
            f"smaller than {prose.number(row['p_floor'], 3)} with so many groups), {corrected}. "
            f"Image less least: {prose.interval(other)}. {claim}"
        )
    )

# %% [markdown]
# ## What this does not show
#
# A mass says where a head looks, not what it takes from there or whether anything is made of it. A
# head switched off says that the answer depends on it in these samples and for these questions; it
# does not say what the head does, and a head without effect may be made up for by others. A zero is
# a state the model never met in training, so that some of any effect is surprise: the random groups
# measure that, as far as others are alike. Where a block has more image heads than half of its
# heads, the random groups hold image heads too. The heads that look least are not matched by block,
# and most of them may lie in the first blocks, on which everything else is built. Intervals are
# over samples; another model, or the same one trained again, may do otherwise.
