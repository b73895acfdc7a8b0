# The models' rules are read now: what runs on what.

try:
    RUNS = catalog.runs(config)
    catalog.take_literally()
    PICTURED = with_pictures(RUNS, config)
    VARIED = with_pictures(RUNS, config, config["variants"]["datasets"])
    ABLATED = with_pictures(RUNS, config, config["ablation"]["datasets"])
    imports = Imports(config["imports"])
    PDF = ["results/paper/lensbench.pdf"] if wants_pdf(config["paper"]["pdf"]) else []
except LensbenchError as error:
    stop(error)

MODELS = sorted({run.model for run in RUNS})
TEXT_MODELS = catalog.text_models(RUNS)

# The first run of each model is read again under other conditions.
REREAD = (
    {run.model: run.dataset for run in reversed(RUNS)}
    if config["numerics"]["n"]
    else {}
)

# Which pictures the studies show beside those that are there.
NOTEBOOKS = glob_wildcards("notebooks/{notebook,[A-Za-z0-9_-]+}.py").notebook
PICTURES = ["native", *map(str, config["variants"]["sizes"]), "blank"]

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
# What is read on a screen: pages of samples, and the studies as notebooks.
PAGES = "results/explorer/index.html"
ALL_NOTEBOOKS = expand("results/notebooks/{notebook}.html", notebook=NOTEBOOKS)
ALL_TABLES = expand(
    "results/tables/{table}.{ending}", table=TABLES, ending=["csv", "tex"]
)
