#!/usr/bin/env bash
# Creates the environment: setup.sh PYTHON VENV. Called by make; safe to run again.
set -euo pipefail
python=$1 venv=$2
say() { printf '== %s\n' "$*"; }

"$python" - <<'CHECK' || { say "Python 3.11 or 3.12 is needed; name it with make PYTHON=python3.11"; exit 1; }
import sys
sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
CHECK

if [ ! -x "$venv/bin/pip" ]; then
    say "creating $venv"
    rm -rf "$venv"
    if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
        # Debian keeps venv in a package of its own; virtualenv does the same from PyPI without root
        rm -rf "$venv"
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
            say "installing Debian's python$version-venv"
            apt-get update -qq && apt-get install -y -qq "python$version-venv" >/dev/null
            "$python" -m venv "$venv"
        else
            say "installing virtualenv"
            "$python" -m pip install -q --user virtualenv || { say "install python3-venv, then run make again"; exit 1; }
            "$python" -m virtualenv -q "$venv"
        fi
    fi
fi

pip="$venv/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt"
say "installing PyTorch (about 1 minute; a GPU build that is already there stays)"
$pip "torch==$(sed -n 's/^torch==//p' constraints.txt)"
say "installing the project and what it needs (about 2 minutes)"
$pip -e '.[dev,docs]'
# the soundfont player of the demo; its PyAudio is for live sound only and needs system headers to build
$pip --no-deps "tinysoundfont==$(sed -n 's/^tinysoundfont==//p' constraints.txt)"
say "ready: $venv/bin/aria-data"
