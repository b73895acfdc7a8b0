# Loads and validates; nothing else.
import os

from lensbench import config as configuration
from lensbench.catalog import Catalog, options, with_pictures
from lensbench.clock import back_to_today
from lensbench.errors import LensbenchError
from lensbench.figures import FIGURES, RUN_FIGURES
from lensbench.files import require_writable
from lensbench.metrics.study_tables import (
    ABLATION_TABLES,
    PATCH_TABLES,
    STUDY_TABLES,
    VARIANT_TABLES,
)
from lensbench.metrics.tables import MODEL_TABLES, RUN_TABLES
from lensbench.paper import PARTS, advice, wants_pdf
from lensbench.rooms import code_version
from lensbench.runlock import only_run
from lensbench.tables import TABLES
from lensbench.workflow import (
    Cut,
    Imports,
    as_one_shard,
    digests_of,
    folders_of,
    gpus_of_job,
    manifest_of,
    run_shown_inputs,
    shares_files,
    shown_caption,
    shown_inputs,
    shown_title,
    stem,
    stop,
    use_this_python,
)

try:
    config = configuration.validate(
        config, ["config/config.yaml", *workflow.overwrite_configfiles]
    )
    shares_files(workflow.storage_settings)
    catalog = Catalog(
        workflow.current_basedir.join("models").get_path_or_uri(True),
        rules,
        config["revisions"],
    )
except LensbenchError as error:
    stop(error)

# Absolute, since a rule may be inherited by a file of another folder; snakemake formats the path.
ENVIRONMENT = os.path.join(workflow.basedir, "environment.yml")
ENVIRONMENT = ENVIRONMENT.replace("{", "{{").replace("}", "}}")

# One GPU and two downloads, unless the command line or a profile says how many there are.
for resource, count in {"gpu": 1, "download": 2}.items():
    if resource not in workflow.global_resources:
        workflow.register_resource(resource, count)

cut = Cut(config)

use_this_python(workflow.basedir)


# What lies beside the runs' folders under this name is no model's.
OF_A_RUN = r"(?!imported/)[a-z0-9._-]+"


wildcard_constraints:
    dataset=r"[a-z0-9_]+",
    model=r"[a-z0-9._-]+",
    part=r"0|[1-9]\d*",
