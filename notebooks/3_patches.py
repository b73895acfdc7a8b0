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
# # What every patch says
#
# A vision-language model turns a picture into a grid of patches and puts them into the prompt as if
# they were words. Read out as if each were about to be answered (the logit lens), a patch decodes
# to tokens at every layer. A study of LLaVA-1.5-7B looked at two pictures this way and asked at
# which layer a patch's likeliest token is most probable, why some say nothing at all, and guessed
# that the meaningful tokens sit at an object's border. Here its numbers are counted again from its
# own lenses, and the guess is tested on drawn scenes whose objects' boxes are known.
#
# A patch's **best layer** is the one, of layers 1 to L, where its likeliest token is most probable,
# the earliest of equals. Layer 0, the embedding, is left out: nothing was computed there yet, and
# tokens that stand there with a probability near 1 are artefacts. The study counts layer 0 too;
# numbers by its rule are named `_with_layer_0` in the tables. A patch is **blank** if its token at
# the best layer is empty or white space only. `LENSBENCH_RESULTS` names another folder of results.

# %%
from lensbench import patch_prose, prose
from lensbench.figures import FIGURES
from lensbench.figures.frames import published, read_table

prose.options()
results = prose.results_folder()
tables = patch_prose.tables_of(results / "metrics")
if (results / "metrics" / "models.csv").is_file():
    tables["models"] = read_table(results / "metrics" / "models.csv")  # a color for each model


def drawn(name: str) -> object:
    return prose.drawn(FIGURES[name].draw(tables), FIGURES[name].caption)


# %% [markdown]
# ## The published numbers, counted again
#
# Imported lenses of the published model, the study's numbers beside ours by the study's rule (layer
# 0 counts too) and, in the last column, by the rule of this notebook. Two pictures are two
# pictures: what holds for them need not hold for others. These lenses apply the final norm to every
# state, the last one too, which had it already, so that their last layer is not the model's own
# output; and they print four decimals, so that a token printed with probability 0.0000 is known
# only to be less likely than half of the last digit.

# %%
ours = tables["models"]["model"].tolist() if "models" in tables else []
beside = patch_prose.compared(tables["patch_summary"], published("patch_lens"), ours)
prose.say(patch_prose.HOW_TO_IMPORT) if beside.empty else prose.grid(patch_prose.told(beside))

# %% [markdown]
# ## The best layer
#
# The last third are the layers from two thirds of the depth on: 22 to 32 of 32. A picture that a
# model sees twice is counted twice, apart: over the patches of the overview, and over those of the
# tiles. The intervals draw pictures, not patches: neighbours say much the same. Of one picture the
# interval of a share is nearly as wide as can be, for it says little of other pictures.

# %%
prose.say(patch_prose.late_sentences(tables["patch_summary"]) or patch_prose.HOW_TO_SEE_SCENES)

# %%
drawn("patch_best_layer")

# %% [markdown]
# A high probability is not a right token: a lens that is sure late may be sure of the next word of
# a sentence, of a comma, or of nothing. Models of few layers, trained on drawn scenes for minutes,
# say nothing about how a large model divides its depth.
#
# ## Where the blank patches lie, and which name an object
#
# The first pictures of each run as maps.

# %%
drawn("patch_maps")

# %% [markdown]
# ## Do the meaningful tokens sit at the border?
#
# A patch is inside if its cell lies wholly in an object's box, on the border if an edge of a box
# crosses it, outside if it shares no area with any. It names the object if its likeliest token is a
# form of the color in the lexicon or the English name of the shape. The intervals draw pictures;
# the difference is over the pictures that have patches of both kinds, the same ones on both sides.
# Overview and tiles are counted apart here too.

# %%
by_region = tables["patch_by_region"]
prose.say(patch_prose.border_sentences(by_region) or patch_prose.HOW_TO_SEE_SCENES)

# %%
drawn("patch_regions")

# %% [markdown]
# And at any layer instead of the best one:

# %%
said = patch_prose.border_sentences(by_region, "names_object_any_layer")
prose.say(said or patch_prose.HOW_TO_SEE_SCENES)

# %% [markdown]
# What this doesn't show: a box is not an outline, so that a patch on the border may hold a few
# pixels of the object or a corner of its box without any; a cell is large beside these objects, so
# that few patches lie wholly inside; and a patch may hold the object without a linear readout
# finding it, or name it by a word that the lexicon lacks.
#
# ## Do the patches that name a color lie where it is?
#
# By layer: the AUC of the probability of the color's forms at patches whose center lies in the box
# of a thing of that color against all others (½ is chance), whether the likeliest patch lies there,
# and the IoU at the best threshold, which knows the truth and is an upper bound; `chance` is what
# the last two give where all patches are alike. Tokens below the top k count as nothing, which can
# only hide order.

# %%
prose.grid(patch_prose.localised(tables["patch_localisation"]))
