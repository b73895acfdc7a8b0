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
# # Counting, layer by layer, in Chinese
#
# A picture, and how many things are in it: a study of Qwen2-VL-2B on TallyQA read every layer with
# the logit lens and found the count first as a Chinese numeral, then as a digit. Here the same
# questions are put to every model that was run, with intervals, with floors (how much Chinese is
# there whatever the picture shows?), and sample by sample: which language comes first? The lens is
# the normed one: the final norm and the unembedding at every layer.

# %%
from lensbench import counting_prose, prose
from lensbench.compared import beside
from lensbench.figures import FIGURES
from lensbench.figures.frames import counting, pooled, published, read_table
from lensbench.mined_files import reviewed

settings = prose.options(datasets=["tallyqa", "scenes"])
results = prose.results_folder()
tables = {path.stem: read_table(path) for path in sorted((results / "metrics").glob("*.csv"))}
counted = {
    name: table[table["dataset"].isin(settings["datasets"])]
    for name, table in tables.items()
    if "dataset" in table
}
answers = counted["accuracy_by_answer"]
counted["accuracy_by_answer"] = answers[answers["answer"].str.startswith("number:")]
# Of a dataset that asks other questions too, these four are read for its counting ones alone.
for name in {"language_lead", "answer_path", "by_variant", "han_floor"} & set(counted):
    counted[name] = counting(counted[name])
runs = counted["summary"][["model", "dataset"]].drop_duplicates()
prose.say(
    "Read here: "
    + ", ".join(
        f"{prose.quoted(run.model)} on {prose.quoted(run.dataset)}" for run in runs.itertuples()
    )
    + "."
)


# %%
def figure(name):
    """Show one of the workflow's figures, of the counting datasets alone."""
    spec = FIGURES[name]
    frames = {table: counted[table] for table in spec.inputs if table in counted}
    if len(frames) < len(spec.inputs):
        return prose.say("These results lack the tables that this figure is made from.")
    extra = {"models": tables["models"], "published": published(name)}
    return prose.drawn(spec.draw({**frames, **extra}), spec.caption)


def of_metrics(name, metrics, **where):
    """Return rows of a table by metric, with a text of value, interval and n."""
    table = counted.get(name)
    if table is None or table.empty:
        return None
    for column, value in where.items():
        table = table[table[column] == value]
    table = table[table["metric"].isin(list(metrics))]
    return table.assign(said=[prose.interval(row) for _, row in table.iterrows()])


def side_by_side(rows, index, metrics):
    """Return a table with a column for each metric, or a sentence where there is none."""
    if rows is None or rows.empty:
        return prose.say("No run has these numbers.")
    wide = rows.pivot(index=index, columns="metric", values="said").reset_index()
    names = {name: name for name in index}
    return prose.grid(
        wide.fillna({"best_layer": "no peak"}).fillna("–"),
        {**names, **{m: t for m, t in metrics.items() if m in wide}},
    )


# %% [markdown]
# ## Sizes and families side by side
#
# One row a run: value, 95 % interval, number of samples. *Written* is what
# the model wrote, *last layer* the likeliest first token. The convergence layer is the one from
# which on that token stays on top; as depth it is divided by the number of layers. All questions
# of a dataset are in this table, those of drawn scenes that ask for a color among them; the second
# table tells the kinds of questions apart.

# %%
from IPython.display import display

shown = {
    "accuracy": "accuracy, last layer", "accuracy_generated": "accuracy, written",
    "convergence_layer": "convergence layer", "convergence_depth": "as depth",
}  # fmt: skip
display(prose.grid(tables["models"], {"model": "model", "architecture": "family",
        "n_layers": "layers", "n_parameters": "parameters"}))  # fmt: skip
display(side_by_side(of_metrics("summary", shown), ["model", "dataset"], shown))
by_kind = of_metrics("accuracy_by_family", shown, asked="all")
if by_kind is not None:
    by_kind = by_kind.rename(columns={"family": "questions"})
display(side_by_side(by_kind, ["model", "dataset", "questions"], shown))

# %% [markdown]
# ## Accuracy by layer
#
# A layer is right if its likeliest token is a form of the gold answer in any language of the
# lexicon. The first figure is of all questions of a dataset, the second of numbers alone.

# %%
figure("accuracy_by_layer")

# %%
figure("accuracy_by_answer")

# %% [markdown]
# ## Beside the published numbers
#
# The difference is ours less the published number; *inside* is 1 where the published number lies
# in our interval. Columns of ours are empty where that model was not run on that data. The study
# drew its questions by an indexing of its own, which the configuration `subset: published` repeats.
#
# The two don't count quite the same: theirs is right with the digit, the English word or a
# hand-cleaned list of Chinese forms, ours with a form of the lexicon in any of its languages; and
# theirs is Han with any character of U+4E00–9FFF, ours by the token's script. Theirs saw every
# picture scaled to 512×512, and its accuracy by layer was read off a bar chart, to ±0.005 or so.

# %%
PUBLISHED = {
    "accuracy_by_layer": ("by_layer", [], "accuracy by layer"),
    "accuracy_by_answer": ("accuracy_by_answer", ["answer"], "accuracy by answer and layer"),
    "han_in_topk": ("han_in_topk", ["k"], "Han among the first k"),
}
for name, (table, more, title) in PUBLISHED.items():
    ours = counted[table]
    if "metric" in ours:
        ours = ours[ours["metric"] == "accuracy"]
    if "asked" in ours:
        ours = pooled(ours)
    pairs = beside(published(name), ours, [*more, "layer"])
    run = pairs["ours"].notna()
    if run.any():
        inside = int(pairs.loc[run, "inside"].sum())
        display(prose.say(
            f"**{title}**: {inside} of {int(run.sum())} published numbers lie in our intervals; "
            f"the largest difference is {prose.number(pairs.loc[run, 'difference'].abs().max())}."
        ))  # fmt: skip
        display(prose.grid(pairs[run].drop(columns=["model", "dataset"]), caption=title))
        continue
    model, dataset = pairs["model"].iloc[0], pairs["dataset"].iloc[0]
    display(prose.say(
        f"**{title}**: {prose.quoted(model)} was not run on {prose.quoted(dataset)} here, so the "
        "published numbers stand alone."
    ))  # fmt: skip
    wide = pairs.pivot_table(index="layer", columns=more or ["model"], values="published")
    display(prose.grid(wide.reset_index().rename(columns=str), caption=f"published: {title}"))

# %% [markdown]
# ## Han among the first k
#
# How often a Chinese character is among the first k tokens of a layer, over all questions of a
# dataset, those that ask for a Chinese answer among them. It need not be the answer.

# %%
figure("han_in_topk")

# %% [markdown]
# How much of that is there for any input? The same questions with a blank gray picture, the mass
# that random directions have, and the vocabulary's own share of Chinese tokens. From here on a
# dataset that asks other questions too is read for its counting ones alone, and where Chinese is
# not what is looked for, without those that ask for a Chinese answer: Han is no wonder there.

# %%
figure("han_floor")

# %%
floors = counted.get("han_floor")
sentences = counting_prose.excess_sentences(floors) if floors is not None else []
prose.say("\n".join(sentences) or "No run was repeated with blank pictures.")

# %% [markdown]
# The layer with the most is chosen after looking at all of them, so its value leans upwards. The
# intervals are pointwise, not corrected for the number of layers: of many layers some lie above 0
# by chance.
#
# ## The lexicon, mined
#
# Which tokens of the middle layers go with which answer more than chance? One one-sided Fisher
# exact test a token × answer pair, over samples, corrected for all pairs by Benjamini and Hochberg
# (`lensbench lexicon mine`). What came up was reviewed by hand; this is the record that comes with
# lensbench, made on the embedded models.

# %%
record = reviewed()
by_decision = record.groupby(["model", "decision"], as_index=False).size()
display(prose.grid(by_decision.pivot(index="model", columns="decision", values="size").fillna(0)
        .astype(int).reset_index()))  # fmt: skip
numerals = record[(record["decision"] == "in the lexicon") & (record["script"] == "Han")]
columns = {"model": "model", "concept": "answer", "token": "token", "with_answer": "with it",
           "n_answer": "of", "without_answer": "without it", "n_others": "of others",
           "log_odds": "log odds", "q": "q"}  # fmt: skip
display(prose.grid(numerals, columns, caption="Chinese numerals that came up again"))
left = record[record["decision"] == "left out"].sort_values("q").head(12)
display(prose.grid(left, {**columns, "reason": "why it was left out"},
                   caption="New candidates, most certain first; none was taken over"))  # fmt: skip

# %%
taken = int((record["decision"] == "taken").sum())
prose.say(
    f"Of {len(record)} reviewed candidates, {int((record['decision'] == 'in the lexicon').sum())} "
    f"were in the lexicon, {taken} were taken over and "
    f"{int((record['decision'] == 'left out').sum())} left out: what goes with an answer need not "
    "mean it."
)

# %% [markdown]
# ## Simple against complex, at matched counts
#
# A complex question names an attribute or more ("How many red stars …"). The two kinds have
# different counts; so every count is given the same weight in both, and one of which a kind has a
# single question none.

# %%
figure("matched_kinds")

# %%
kinds = of_metrics("matched_kinds", ["accuracy", "convergence_layer"], kind="difference")
side_by_side(
    kinds, ["model", "dataset", "asked", "weighting"],
    {"accuracy": "accuracy, complex − simple", "convergence_layer": "layers, complex − simple"},
)  # fmt: skip

# %% [markdown]
# ## More than five
#
# The published study stopped at five. *Best layer* is the layer, of 1 to L, with the highest
# accuracy; its accuracy leans upwards, as every maximum of noisy numbers does. Nothing peaks where
# its interval doesn't lie above that of the layer with the lowest.

# %%
more = {
    "accuracy": "accuracy, last layer", "accuracy_best": "accuracy, best layer",
    "best_layer": "best layer", "convergence_layer": "convergence layer",
}  # fmt: skip
side_by_side(of_metrics("by_count", more), ["model", "dataset", "asked", "group"], more)

# %% [markdown]
# ## Resolution
#
# The picture's longer side shrunk to so many pixels before the model's own processor. A model that
# scales every picture to one size sees as many positions then, of a blurred picture. Han is told
# without the questions that ask for a Chinese answer.

# %%
figure("by_variant")

# %%
changed = {
    "n_image_tokens": "image positions", "accuracy_minus_native": "accuracy − native",
    "convergence_layer_minus_native": "convergence layer − native",
    "han_top1_max_not_zh": "Han on top, layer with most",
}  # fmt: skip
changes = of_metrics("by_variant", changed, asked="all")
side_by_side(changes, ["model", "dataset", "variant"], changed)

# %% [markdown]
# ## Chinese before English?
#
# Sample by sample: the first layer at which a Chinese form of the answer is on top (or among the
# first ten), against the first with an English one. *Net first* is the share of all samples in
# which Chinese is earlier or comes alone, less that in which English is or does. The floor is a
# wrong answer: the mean over all other answers of the same kind. As far as it leads, too, a
# language comes first of any answer, by its forms or by what is asked for, not of this one; so a
# verdict needs the right answer to go beyond the wrong ones, sample by sample; these three numbers
# are of the same samples. A lead in layers is of the samples alone in which both arrive, which may
# be few and unlike the others. On top and among the first ten are told together: the more tokens
# count, the sooner a language with many forms arrives.

# %%
figure("language_lead")

# %%
lead = counted.get("language_lead")
sentences = counting_prose.lead_sentences(lead) if lead is not None else []
prose.say("\n".join(sentences) or "No run has forms in both languages.")

# %% [markdown]
# The same with the wrong answers beside the right one. Columns that end in *right − wrong* are
# paired, the same sample under both, and the two columns before each are of these samples. Each
# interval stands by itself, not corrected for how many
# there are.

# %%
display(
    prose.say("No run has forms in both languages.") if lead is None
    else prose.grid(counting_prose.leads(lead), counting_prose.LEADS)
)  # fmt: skip

# %% [markdown]
# Asked in different languages, a model that was taught to answer in each writes each; the rows that
# are asked for digits or English tell most about a language in between. Here Chinese is held
# against the digit, on top.

# %%
ways = {
    "share_first_earlier": "Chinese earlier", "share_tie": "same layer",
    "share_second_earlier": "digit earlier", "share_only_first": "Chinese only",
    "share_only_second": "digit only", "share_neither": "neither",
}  # fmt: skip
digits = of_metrics(
    "language_lead", ways, first="zh", second="digit", arrival="top1"
)  # fmt: skip
side_by_side(digits, ["model", "dataset", "asked"], ways)

# %% [markdown]
# ## Born, agreed upon, lost
#
# Where the right answer is on top for the first time, in any language; how often it is lost again;
# how often the last layers agree with the very last; and what the last block still changes. Of
# counting questions alone where a dataset asks others too. The first table tells the languages
# asked for apart, the others take them together.

# %%
path = {
    "gold_found": "found at some layer", "gold_first_layer": "first layer, normed",
    "gold_first_layer_raw": "first layer, raw", "gold_lost": "found, not at the last layer",
    "gold_regained": "found, lost and found again",
}  # fmt: skip
display(side_by_side(of_metrics("answer_path", path), ["model", "dataset", "asked"], path))
last = {
    "last_1_agree": "last but one agrees", "last_2_agree": "last 2 agree",
    "last_4_agree": "last 4 agree", "last_block_change": "last block changes the token",
    "last_block_js_nats": "JS of the last block (nats)",
}  # fmt: skip
display(side_by_side(of_metrics("answer_path", last, asked="all"), ["model", "dataset"], last))
after = {
    "after_case": "case changes", "after_space": "leading space changes",
    "after_word": "another word", "after_language": "another language",
    "after_leave": "leaves the answer",
}  # fmt: skip
display(side_by_side(of_metrics("answer_path", after, asked="all"), ["model", "dataset"], after))

# %%
sentences = []
raw = of_metrics("answer_path", ["gold_first_layer_raw_minus_normed"], asked="all")
for _, row in raw.iterrows() if raw is not None else ():
    clear = row["low"] > 0 or row["high"] < 0
    first, second = (
        of_metrics("answer_path", [name], model=row["model"], dataset=row["dataset"], asked="all")
        ["said"].iloc[0]
        for name in ("gold_first_layer_raw_paired", "gold_first_layer_paired")
    )  # fmt: skip
    sentences.append(
        f"- {prose.quoted(row['model'])} on {prose.quoted(row['dataset'])}: where both lenses find "
        f"the answer, the raw one first has it at layer {first} and the normed one at {second}; "
        f"the raw one is {row['said']} layers later, which is "
        f"{'a difference' if clear else 'no clear difference'}."
    )
prose.say("\n".join(sentences) or "No run was read through the raw lens.")

# %% [markdown]
# ## What this doesn't show
#
# - A lens shows what a linear readout finds at a layer, not what the model believes or uses: a
#   Chinese numeral on top in the middle is no proof that the model counts in Chinese.
# - The embedded models are tiny and were taught to count drawn things and to answer in the language
#   asked for. What they do says how the measures behave, not what a large model does; for that, run
#   the published model (`config/`) and read this page again.
# - Languages differ in how many forms the lexicon and the vocabulary have of a number. Arrival
#   among the first ten favors the one with more, of a wrong answer as of the right one.
# - A wrong answer is among the first tokens less often than the right one, which draws its *net
#   first* to 0: on top, where wrong answers are rare, going beyond it says less than among ten.
# - A blank picture is an input, too, on which a model may answer by habit; what is in excess of it
#   is what this picture adds, not all that vision does.
# - Differences between models are between these models, with one training each.
