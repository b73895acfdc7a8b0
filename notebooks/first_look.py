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
# # A first look at the results
#
# This notebook reads the tables in `results/metrics/` and shows what they hold; open it with
# Jupyter (jupytext pairs it with an `.ipynb`) or run it as a plain script. `LENSBENCH_RESULTS`
# names another folder of results.

# %%
import os
from pathlib import Path

from lensbench.figures.frames import read_table  # a token may read "None" or "NA"

results = Path(os.environ.get("LENSBENCH_RESULTS", "results"))
if not results.is_dir():
    results = Path("..") / results  # opened from the folder of notebooks
tables = {path.stem: read_table(path) for path in sorted((results / "metrics").glob("*.csv"))}
sorted(tables)

# %% [markdown]
# ## Every run in one row
#
# `value` is the mean over the samples or a share of them; `low` and `high` bound its 95 % interval.

# %%
summary = tables["summary"].pivot_table(
    index=["model", "dataset"], columns="metric", values="value", sort=False
)
shown = ["accuracy", "convergence_depth", "first_hit_layer", "changes_of_mind"]
summary.reindex(columns=shown).round(3)  # no run has an accuracy if no answer is known

# %% [markdown]
# ## Where the answer appears
#
# The first layer at which half of the model's final accuracy is reached.

# %%
by_layer = tables["by_layer"].query("metric == 'accuracy'")
final = by_layer.groupby(["model", "dataset"])["value"].transform("last")
reached = by_layer[(by_layer["value"] >= final / 2) & (final > 0)]
reached.groupby(["model", "dataset"])[["layer", "depth"]].first()

# %% [markdown]
# ## Which script the middle speaks
#
# Mass by layer on the scripts that have at least 5 % somewhere, without digits and punctuation.

# %%
mass = tables["script_mass"].query("asked == 'all'")
mass = mass.query("script not in ['Digit', 'Punctuation', 'Special']")
seen = mass.groupby(["model", "dataset", "script"])["value"].transform("max") >= 0.05
mass[seen].pivot_table(index=["model", "dataset", "script"], columns="layer", values="value").round(
    2
)

# %% [markdown]
# ## A figure of one's own
#
# The functions that draw the paper's figures take any such tables.

# %%
from lensbench.figures import FIGURES
from lensbench.figures.frames import read_tables

FIGURES["accuracy_by_layer"].draw(read_tables(results / "metrics", ["by_layer", "models"]))
