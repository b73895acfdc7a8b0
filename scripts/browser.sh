#!/usr/bin/env bash
# Sees to Chromium before the tests: takes what is there, or installs it on Debian as root.
set -euo pipefail

if command -v chromium >/dev/null || command -v chromium-browser >/dev/null; then
    exit 0
fi
if [ -f /etc/debian_version ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "lensbench: no Chromium here; installing chromium with apt-get for the explorer's tests."
    export DEBIAN_FRONTEND=noninteractive
    if apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; then
        exit 0
    fi
    echo "lensbench: apt-get could not install it; the explorer's tests will say so."
else
    echo "lensbench: no Chromium here; the explorer's tests need it (Debian's package chromium)."
fi
