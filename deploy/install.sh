#!/usr/bin/env bash
# What an image of lensbench's environment holds: the locked packages, and LaTeX for the report.
set -euo pipefail
cd "$(dirname "$0")"

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# poppler-utils: the report's pictures and fonts can be checked; procps: snakemake looks at processes.
apt-get install -y -qq --no-install-recommends \
    latexmk texlive-luatex texlive-latex-recommended poppler-utils procps git make
rm -rf /var/lib/apt/lists/*
python3 -m pip install --no-cache-dir --disable-pip-version-check -r requirements.lock
# lensbench itself isn't in it: jobs find it in the src of the clone that they run from.
python3 -m pip check
