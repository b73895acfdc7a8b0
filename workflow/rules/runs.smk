# The models' rules are read now: what runs on what.

try:
    RUNS = catalog.runs(config)
    PDF = ["results/paper/lensbench.pdf"] if wants_pdf(config["paper"]["pdf"]) else []
except LensbenchError as error:
    stop(error)

MODELS = sorted({run.model for run in RUNS})

# What the default target promises.
ALL_FIGURES = [
    *expand("results/figures/{figure}.{ending}", figure=FIGURES, ending=["pdf", "png"]),
    *expand(
        "results/figures/{run.model}/{run.dataset}/{figure}.{ending}",
        run=RUNS,
        figure=RUN_FIGURES,
        ending=["pdf", "png"],
    ),
]
ALL_TABLES = expand(
    "results/tables/{table}.{ending}", table=TABLES, ending=["csv", "tex"]
)
