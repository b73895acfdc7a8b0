#!/usr/bin/env bash
# Sees to Slurm before make test-cluster: takes what is there, installs it on Debian as root, or says what to do.
set -euo pipefail
packages="munge slurmctld slurmd slurm-client"

if command -v munged && command -v slurmctld && command -v slurmd && command -v sbatch; then
    exit 0
fi >/dev/null
if [ -f /etc/debian_version ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "lensbench: no Slurm here; installing $packages with apt-get."
    export DEBIAN_FRONTEND=noninteractive
    # Installed and not started: the test brings up daemons of its own.
    export RUNLEVEL=1
    # $packages is a list: its words are meant to be split.
    # shellcheck disable=SC2086
    if apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages >/dev/null; then
        exit 0
    fi
    echo "lensbench: apt-get could not install $packages: install Slurm and munge yourself." >&2
else
    echo "lensbench: no Slurm here: install $packages as root (sudo scripts/slurm.sh on Debian)." >&2
fi
exit 1
