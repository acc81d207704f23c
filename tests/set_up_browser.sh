#!/usr/bin/env bash
# What tests in a real browser need: set_up_browser.sh VENV. Where it cannot be had, they say so and are skipped.
set -uo pipefail
venv=$1
say() { printf '== %s\n' "$*"; }

say "installing Playwright, for tests in a real browser"
"$venv/bin/python" -m pip --disable-pip-version-check install -q -c constraints.txt -e '.[browser]' ||
    say "Playwright cannot be installed here: tests in a real browser are skipped"
for name in chromium chromium-browser google-chrome-stable google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing Debian's chromium, for tests in a real browser"
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 && exit 0
fi
say "no chromium here: tests in a real browser are skipped"
