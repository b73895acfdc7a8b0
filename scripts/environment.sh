#!/usr/bin/env bash
# Makes .venv with the locked packages and lensbench itself, or says in one sentence why it can't.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"

fail() {
    printf 'lensbench: %s\n' "$1" >&2
    exit 1
}

command -v "$python" >/dev/null ||
    fail "$python was not found: install Python 3.11 or newer, or name it with make PYTHON=/path/to/python."
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$python is Python $version, but 3.11 or newer is needed: name another with make PYTHON=/path/to/python."
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "lensbench: installing python3-venv with apt-get, which $python lacks."
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    else
        fail "$python has no venv module: run 'sudo apt-get install python3-venv', then make again."
    fi
fi

# A folder left by a broken run is no environment; begin again.
[ -x .venv/bin/python ] && .venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv
echo "lensbench: installing the packages of requirements.lock into .venv (Python $version)."
.venv/bin/python -m pip install --disable-pip-version-check --quiet --progress-bar off -r requirements.lock
.venv/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
touch .venv/.complete
