"""lensbench: datasets → models → traces → metrics → figures, tables → paper."""

import os

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


# For --software-deployment-method apptainer; deploy/lensbench.def builds it.
# A function, since braces in the folder's name would be taken for wildcards.
container: lambda wildcards: os.path.join(workflow.basedir, "deploy", "lensbench.sif")


include: "workflow/rules/common.smk"
include: "workflow/rules/datasets.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/extract.smk"


for model_file in catalog.files.values():

    include: model_file


include: "workflow/rules/runs.smk"
include: "workflow/rules/metrics.smk"
include: "workflow/rules/studies.smk"
include: "workflow/rules/numerics.smk"
include: "workflow/rules/explorer.smk"
include: "workflow/rules/notebooks.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/paper.smk"
include: "workflow/rules/train.smk"


rule all:
    default_target: True
    input:
        ALL_FIGURES,
        ALL_TABLES,
        rules.numbers.output,
        rules.paper_parts.output,
        PAGES,
        ALL_NOTEBOOKS,
        PDF,


# A second run in this folder ends here; a dry run, a report and a job never come here.
onstart:
    try:
        only_run()
        # Snakemake would stumble over it, with a traceback of its own.
        require_writable()
    except LensbenchError as error:
        stop(error)
    back_to_today()


onsuccess:
    if not PDF and config["paper"]["pdf"] == "auto":
        print(
            f"No LaTeX is here, so that the report's PDF was left out: {advice()}"
        )
