#!/usr/bin/env bash
# Sees to LaTeX before the paper: takes what is there, installs it on Debian as root, or goes on without.
set -euo pipefail
packages="latexmk texlive-luatex texlive-latex-recommended"

if command -v tectonic >/dev/null || { command -v latexmk && command -v lualatex; } >/dev/null; then
    exit 0
fi
if [ -f /etc/debian_version ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "lensbench: no LaTeX here; installing $packages with apt-get for the paper's PDF."
    export DEBIAN_FRONTEND=noninteractive
    # $packages is a list: its words are meant to be split.
    # shellcheck disable=SC2086
    if apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages >/dev/null; then
        exit 0
    fi
    echo "lensbench: apt-get could not install them; the paper's PDF is left out."
else
    echo "lensbench: no LaTeX here; everything but the paper's PDF is made."
fi
