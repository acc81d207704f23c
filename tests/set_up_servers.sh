#!/usr/bin/env bash
# What tests against real servers need, Ray's and one of S3's protocol: set_up_servers.sh VENV. Where it cannot be had,
# they say so and are skipped.
set -uo pipefail
venv=$1
say() { printf '== %s\n' "$*"; }

say "installing Ray and an S3 server, for tests of clusters and object storage (300 MB)"
"$venv/bin/python" -m pip --disable-pip-version-check install -q -c constraints.txt -e '.[servers]' ||
    say "they cannot be installed here: tests of clusters and object storage are skipped"
exit 0
