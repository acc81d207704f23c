#!/bin/bash
# Everything that is to be known of a GPU, in one run of at most 8 minutes that writes one JSON.
#
#     bash benchmarks/gpu.sh OUT.json                       on a machine with a GPU, from the repository
#     bash benchmarks/gpu.sh OUT.json --device cpu --quick  a rehearsal without one, in a minute or two
#
# It needs a Python with this project's packages and a torch built for the GPU: $PYTHON, else .venv/bin/python, else
# python3. Nothing is fetched. What was measured when the time is up is in OUT.json: it is written after each part.
set -euo pipefail
out=${1:?bash benchmarks/gpu.sh OUT.json [--device cpu] [--quick]}
out=$(realpath -m "$out")
shift
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || command -v "$python" >/dev/null || python=python3
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
timeout --signal=INT 480 "$python" benchmarks/gpu.py --json "$out" "$@"
