"""Every export, read back by the library it is for: the same bytes, the same metadata, the same again next time."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from fakes import manifest_row

import aria_data
from aria_data import exports
from aria_data.errors import DatasetCorrupt, DatasetLocked, DatasetNotFound, DatasetNotWritable, UsageError
from aria_data.exports import aria, aria_jsonl, webdataset, writing
from aria_data.exports.writing import Names, exported_columns, exported_row
from aria_data.manifest import Manifest
from aria_data.manifest.manifest import columns
from aria_data.midi import Note, Pedal, Performance, midi_bytes
from flows.cli import release as dataset_commands

HOSTILE = (
    "../../etc/passwd",
    "quotes \" and ' and , and ;",
    "tab\tline\nreturn\r\x07\x1b[31m",
    "emoji 🎹 \U0001f600 and \u202eright to left",
    "---\nlicense: mit\n---\n| a | `b` | <script>alert(1)</script>",
    "= 1 + 1",
    "{braces} %s $HOME",
    "",
)


def song(number: int) -> bytes:
    notes = [Note(0.5 * i, 0.5 * i + 0.4, 40 + (number + i) % 48, 1 + (number // 48) % 127) for i in range(6)]
    return midi_bytes(Performance(notes, [Pedal(0.2, 1.4)]))


def row_with_midi(root: Path, segment_id: str, content: bytes, **values) -> dict:
    sha256 = hashlib.sha256(content).hexdigest()
    path = f"midi/{sha256[:2]}/{sha256[:16]}.mid"
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)
    return manifest_row(segment_id, midi_path=path, midi_sha256=sha256, **values)


def make_rows(root: Path, count: int) -> list[dict]:
    """Rows with text as hostile as it comes; two segments a recording, all splits, all levels of subsets."""
    return [
        row_with_midi(
            root,
            f"web-{number // 2:04d}_{number % 2}",
            song(number),
            title=HOSTILE[number % len(HOSTILE)],
            composer=HOSTILE[(number + 1) % len(HOSTILE)],
            performer=HOSTILE[(number + 2) % len(HOSTILE)],
            licence=HOSTILE[(number + 3) % len(HOSTILE)],
            split=("train", "train", "validation", "test")[number % 4],
            in_pruned=number % 8 > 1,
            in_deduplicated=number % 8 > 3,
            in_unique=number % 8 > 5,
            num_notes=6,
            audio_score=0.1 + number / 1000,
            missed_passage_start_s=None if number % 2 else 1.25,
            backend_agreement=None,
        )
        for number in range(count)
    ]


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "dataset"


@pytest.fixture
def rows(root) -> list[dict]:
    return make_rows(root, 24)


@pytest.fixture
def dataset(root, rows) -> aria_data.Dataset:
    Manifest(root).commit(rows)
    return aria_data.Dataset(root)


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """Keep foreign libraries off the network and out of the home of whoever runs this."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "1")
    for name in ("HF_HOME", "HF_DATASETS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------- what each reader gets back

Pairs = list[tuple[dict, bytes]]


def read_folder(out: Path) -> Pairs:
    kinds = {column["name"]: column["type"] for column in columns()}
    read = {"int64": int, "float64": float, "bool": lambda text: {"true": True, "false": False}[text], "string": str}
    pairs = []
    with open(out / "manifest.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            name = row.pop("file_name")
            found = {key: None if text == "" else read[kinds[key]](text) for key, text in row.items()}
            pairs.append((found, (out / name).read_bytes()))
    return pairs


def leaves_shards_open(test):
    """The webdataset library leaves closing its files to the garbage collector."""
    marks = ("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    return pytest.mark.filterwarnings(*marks)(test)


def read_webdataset(out: Path) -> Pairs:
    import webdataset

    shards = sorted(str(path) for path in out.glob("*.tar"))
    samples = webdataset.WebDataset(shards, shardshuffle=False, empty_check=False)
    return [(json.loads(sample["json"]), sample["mid"]) for sample in samples]


def read_huggingface(out: Path, config: str = "full") -> Pairs:
    """In a process of its own, as the library reads its environment when it is first imported."""
    script = (
        "import sys, pickle, datasets\n"
        "found = datasets.load_dataset(sys.argv[1], sys.argv[2])\n"
        "pickle.dump({name: list(split) for name, split in found.items()}, sys.stdout.buffer)"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, str(out), config]
    ran = subprocess.run(command, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    import pickle

    splits = pickle.loads(ran.stdout)
    for name, found in splits.items():
        assert {row["split"] for row in found} == {name}
    return [(row, row.pop("midi")) for found in splits.values() for row in found]


def without_empty(row: dict) -> dict:
    return {name: None if value == "" else value for name, value in row.items()}


@leaves_shards_open
@pytest.mark.parametrize(
    ("format_", "read"), [("folder", read_folder), ("webdataset", read_webdataset), ("huggingface", read_huggingface)]
)
def test_what_is_read_back_is_what_was_exported(dataset, rows, tmp_path, format_, read: Callable[[Path], Pairs]):
    result = exports.export(dataset, tmp_path / "out", format_)
    assert (result.num_rows, result.version, result.format) == (24, 1, format_)
    found = sorted(read(tmp_path / "out"), key=lambda pair: pair[0]["segment_id"])
    expected = [(exported_row(row), song(number)) for number, row in enumerate(rows)]
    if format_ == "folder":  # a CSV does not tell empty text from none
        expected = [(without_empty(row), midi) for row, midi in expected]
    assert found == expected
    written = files_of(tmp_path / "out")
    assert (result.num_files, result.num_bytes) == (len(written), sum(map(len, written.values())))


def test_the_aria_layout_follows_the_rules_of_its_loader(dataset, rows, tmp_path):
    exports.export(dataset, tmp_path / "out", "aria")
    found = {}
    for path in sorted((tmp_path / "out" / "data").rglob("*.mid")):
        assert re.fullmatch(r"data/[a-z]{2}/\d{6}_\d+\.mid", path.relative_to(tmp_path / "out").as_posix())
        metadata = json.loads((path.parents[2] / "metadata.json").read_text())
        number, segment = path.stem.split("_")
        found[int(number), segment] = (metadata[str(int(number))], path.read_bytes())
    assert len(found) == 24
    for number, row in enumerate(rows):
        entry, midi = found[number // 2 + 1, str(row["number"])]
        assert midi == song(number)
        assert entry["audio_scores"][str(row["number"])] == row["audio_score"]
        assert set(entry) == {"metadata", "audio_scores"}
    with open(tmp_path / "out" / "segments.csv", encoding="utf-8", newline="") as file:
        assert [row["segment_id"] for row in csv.DictReader(file)] == [row["segment_id"] for row in rows]


def test_aria_tags_are_lower_case_surnames_and_leave_out_what_is_not_known():
    row = manifest_row("a_0", composer_id="strauss_ii", composer="Johann Strauss II", performer="György Cziffra")
    row |= {"form": "Waltz", "catalogue": "op", "catalogue_number": "314", "period": "", "piece_number": None}
    assert aria.tags(row) == {
        "composer": "strauss",
        "performer": "cziffra",
        "genre": "x",
        "form": "waltz",
        "key_signature": "x",
        "opus": "314",
    }
    assert aria.tags(row | {"composer_id": "", "composer": "Jane van Doe"})["composer"] == "doe"
    assert "opus" not in aria.tags(row | {"catalogue": "bwv"})


def test_aria_json_lines_hold_the_messages_of_each_file(dataset, rows, tmp_path):
    exports.export(dataset, tmp_path / "out", "aria-jsonl")
    found = {}
    for split in ("train", "validation", "test"):
        for line in (tmp_path / "out" / f"{split}.jsonl").read_text().splitlines():
            entry = json.loads(line)
            assert set(entry) == {
                *(f"{name}_msgs" for name in ("meta", "tempo", "pedal", "instrument", "note")),
                "ticks_per_beat",
                "metadata",
            }
            found[entry["metadata"]["segment_id"]] = entry
    assert sorted(found) == [row["segment_id"] for row in rows]
    entry = found["web-0000_0"]
    assert entry["ticks_per_beat"] == 1000
    assert entry["tempo_msgs"] == [{"type": "tempo", "data": 500000, "tick": 0}]
    assert [(each["data"], each["tick"]) for each in entry["pedal_msgs"]] == [(1, 400), (0, 2800)]
    assert entry["note_msgs"][1] == {
        "type": "note",
        "data": {"pitch": 41, "start": 1000, "end": 1800, "velocity": 1},
        "tick": 1000,
        "channel": 0,
    }


def test_a_note_struck_again_and_one_never_released_end_in_json_lines():
    import io

    import mido

    track = mido.MidiTrack(
        [
            mido.Message("note_on", note=60, velocity=9, time=0),
            mido.Message("note_on", note=60, velocity=8, time=10),
            mido.MetaMessage("end_of_track", time=5),
        ]
    )
    file = io.BytesIO()
    mido.MidiFile(tracks=[track]).save(file=file)
    notes = aria_jsonl.messages_of(file.getvalue(), "a_0")["note_msgs"]
    assert [(note["data"]["start"], note["data"]["end"]) for note in notes] == [(0, 10), (10, 15)]


# ---------------------------------------------------------------- the Hugging Face card


def front_matter(out: Path) -> dict:
    import yaml

    return yaml.safe_load((out / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def test_subsets_are_configurations_without_copies(dataset, rows, tmp_path):
    out = tmp_path / "out"
    exports.export(dataset, out, "huggingface")
    facts = front_matter(out)
    assert [config["config_name"] for config in facts["configs"]] == ["full", "pruned", "deduplicated", "unique"]
    expected = {row["segment_id"] for row in rows if row["in_deduplicated"]}
    assert {row["segment_id"] for row, _ in read_huggingface(out, "deduplicated")} == expected
    assert sum(counts["num_rows"] for counts in json.loads((out / "export.json").read_text())["files"].values()) == 24
    info = {each["config_name"]: each for each in facts["dataset_info"]}
    assert {split["name"]: split["num_examples"] for split in info["full"]["splits"]} == {
        "train": 12,
        "validation": 6,
        "test": 6,
    }
    assert [feature["name"] for feature in info["full"]["features"]] == [*exported_columns(), "midi"]
    assert facts["size_categories"] == ["n<1K"]


def test_text_from_outside_is_neither_front_matter_nor_markup(dataset, tmp_path):
    exports.export(dataset, tmp_path / "out", "huggingface", "title <> '`x`'")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert front_matter(tmp_path / "out")["license"] == "other"
    assert "<script>" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count("\n---\n") == 1


@pytest.mark.parametrize(
    ("licences", "license_", "name"),
    [
        (["CC0", "https://creativecommons.org/publicdomain/zero/1.0/"], "cc0-1.0", None),
        (["", ""], "unknown", None),
        (["CC BY 4.0", "CC BY 3.0"], "other", "cc-by"),
        (["CC0", ""], "other", "several"),
    ],
)
def test_the_card_names_one_licence_only_where_all_rows_have_it(root, tmp_path, licences, license_, name):
    rows = [row_with_midi(root, f"web-{i}_0", song(i), licence=text, split="train") for i, text in enumerate(licences)]
    Manifest(root).commit(rows)
    exports.export(aria_data.Dataset(root), tmp_path / "out", "huggingface")
    facts = front_matter(tmp_path / "out")
    assert (facts["license"], facts.get("license_name")) == (license_, name)


# ---------------------------------------------------------------- promises of every format


@pytest.mark.parametrize("format_", exports.FORMATS)
def test_the_same_rows_give_the_same_bytes(dataset, rows, root, tmp_path, format_):
    exports.export(dataset, tmp_path / "a", format_)
    Manifest(tmp_path / "copy").commit(rows[::-1])
    (tmp_path / "copy" / "midi").symlink_to(root / "midi")
    exports.export(aria_data.Dataset(tmp_path / "copy"), tmp_path / "b", format_)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


@pytest.mark.parametrize("format_", exports.FORMATS)
def test_checksums_and_counts_hold_and_a_flipped_byte_is_found(dataset, tmp_path, format_):
    out = tmp_path / "out"
    exports.export(dataset, out, format_, where="split <> 'test'")
    facts = exports.verify(out)
    assert (facts["format"], facts["version"], facts["where"], facts["num_rows"]) == (format_, 1, "split <> 'test'", 18)
    assert facts["content_sha256"] == dataset.versions()[0].content_sha256
    assert facts["num_rows_by_split"] == {"train": 12, "validation": 6}
    checked = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=out, check=False)
    assert checked.returncode == 0
    for path in [path for path in sorted(out.rglob("*")) if path.is_file()]:
        before = path.read_bytes()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(DatasetCorrupt):
            exports.verify(out)
        path.write_bytes(before)
    exports.verify(out)


def test_a_missing_a_strange_and_an_unlisted_file_are_named(dataset, tmp_path):
    out = tmp_path / "out"
    exports.export(dataset, out, "folder")
    (out / "extra.txt").write_text("x")
    with pytest.raises(DatasetCorrupt, match=r"extra\.txt: is no file of the export"):
        exports.verify(out)
    (out / "extra.txt").unlink()
    (lost,) = out.rglob("web-0003_1.mid")
    lost.unlink()
    with pytest.raises(DatasetCorrupt, match=r"web-0003_1\.mid: cannot be read"):
        exports.verify(out)
    sums = out / "SHA256SUMS"
    sums.write_text("0" * 64 + "  ../dataset/midi\n" + sums.read_text())
    with pytest.raises(DatasetCorrupt, match="SHA256SUMS:1: is no line of checksum and file"):
        exports.verify(out)
    with pytest.raises(DatasetNotFound, match="holds no export"):
        exports.verify(tmp_path)


@pytest.mark.parametrize("text", ["{}", "[]", "no", '{"num_rows": 24, "files": {"../x.tar": {"num_rows": 24}}}'])
def test_facts_that_say_nothing_usable_are_one_line(dataset, tmp_path, text):
    out = tmp_path / "out"
    exports.export(dataset, out, "webdataset")
    facts, sums = out / "export.json", out / "SHA256SUMS"
    before = hashlib.sha256(facts.read_bytes()).hexdigest()
    facts.write_text(text)
    sums.write_text(sums.read_text().replace(before, hashlib.sha256(facts.read_bytes()).hexdigest()))
    with pytest.raises(DatasetCorrupt, match=r"export\.json: does not say how many rows"):
        exports.verify(out)


def test_counts_that_do_not_fit_are_found_even_with_fresh_checksums(dataset, tmp_path):
    out = tmp_path / "out"
    exports.export(dataset, out, "webdataset")
    facts = out / "export.json"
    before = hashlib.sha256(facts.read_bytes()).hexdigest()
    facts.write_text(facts.read_text().replace('"num_rows": 24', '"num_rows": 25'))
    sums = out / "SHA256SUMS"
    sums.write_text(sums.read_text().replace(before, hashlib.sha256(facts.read_bytes()).hexdigest()))
    with pytest.raises(DatasetCorrupt, match=r"has 24 MIDI files, but export\.json says 25"):
        exports.verify(out)


@pytest.mark.parametrize("format_", exports.FORMATS)
def test_what_was_removed_is_in_no_export_of_any_version(dataset, rows, root, tmp_path, format_):
    stone = dict.fromkeys(rows[4]) | {k: rows[4][k] for k in ("segment_id", "recording_id", "number", "source")}
    stone |= {"first_version": 1, "removed_in": 2, "removal_reason": "takedown"}
    Manifest(root).commit([*rows[:4], stone, *rows[5:]])
    (root / rows[4]["midi_path"]).unlink()
    for version in (1, 2):
        opened = aria_data.Dataset(root, version)
        out = tmp_path / f"out{version}"
        assert exports.export(opened, out, format_, "removed_in is null or removed_in > 0").num_rows == 23
        assert exports.verify(out)["version"] == version
        assert not [name for name, content in files_of(out).items() if b"web-0002_0" in content or song(4) in content]


@leaves_shards_open
@pytest.mark.parametrize("format_", exports.FORMATS)
def test_ids_from_outside_never_become_paths(root, tmp_path, format_):
    ids = ["../../evil_0", "/etc/passwd_0", "a/b_0", "web-ABC_0", "web-abc_0", "dots.in.it_0", "🎹_0", "-rf_0", "x\n_0"]
    rows = [row_with_midi(root, name, song(i), number=i, split="train") for i, name in enumerate(ids)]
    Manifest(root).commit(rows)
    before = {path for path in tmp_path.rglob("*") if tmp_path / "out" not in path.parents}
    exports.export(aria_data.Dataset(root), tmp_path / "out", format_)
    after = {path for path in tmp_path.rglob("*") if tmp_path / "out" not in path.parents}
    assert after - before == {tmp_path / "out"}
    assert exports.verify(tmp_path / "out")["num_rows"] == len(ids)
    if format_ == "webdataset":
        names = []
        for shard in (tmp_path / "out").glob("train-*.tar"):
            with tarfile.open(shard) as tar:
                names += tar.getnames()
        assert len({name.lower() for name in names}) == 2 * len(ids)
        assert all(re.fullmatch(r"[A-Za-z0-9_-]+\.(mid|json)", name) for name in names)
        assert sorted(row["segment_id"] for row, _ in read_webdataset(tmp_path / "out")) == sorted(ids)


def test_a_split_that_is_no_word_never_becomes_a_path(root, tmp_path):
    Manifest(root).commit([row_with_midi(root, "web-1_0", song(1), split="../../evil")])
    for format_ in ("huggingface", "webdataset", "aria-jsonl"):
        with pytest.raises(DatasetCorrupt, match=r"split of the manifest is '\.\./\.\./evil'"):
            exports.export(aria_data.Dataset(root), tmp_path / "out", format_)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset"]


def test_plain_ids_stay_as_they_are_and_no_two_names_are_equal():
    names = Names()
    assert names.name("youtube-_aB3-x_0") == "youtube-_aB3-x_0"
    assert names.name("youtube-_AB3-x_0").startswith("segment-")
    assert names.name("a" * 101).startswith("segment-")


# ---------------------------------------------------------------- whole or not at all


def test_a_folder_that_holds_anything_is_refused_and_left_as_it_was(dataset, root, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    before = sorted(tmp_path.rglob("*"))
    for out, says in (
        ("full", "is not empty; an export goes into a new or an empty folder"),
        ("dataset", "is not empty"),
        ("file", "is a file, but --out names a folder"),
    ):
        with pytest.raises(UsageError, match=says):
            exports.export(dataset, tmp_path / out, "folder")
    with pytest.raises(UsageError, match="has no MIDI file for which 'false' holds"):
        exports.export(dataset, tmp_path / "out", "folder", "false")
    with pytest.raises(UsageError, match="the query"):
        exports.export(dataset, tmp_path / "out", "folder", "true); DROP TABLE manifest; --")
    with pytest.raises(UsageError, match="'zip' is no format of export. Known: aria, aria-jsonl, folder"):
        exports.export(dataset, tmp_path / "out", "zip")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_and_deep_new_ones_are_filled(dataset, tmp_path):
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "a" / "b"):
        exports.export(dataset, out, "folder")
        assert exports.verify(out)["num_rows"] == 24
    assert not list(tmp_path.rglob("*.partial"))
    assert not list((tmp_path / "empty").rglob(".lock"))


@pytest.mark.parametrize("format_", exports.FORMATS)
def test_an_export_that_fails_leaves_nothing(dataset, rows, root, tmp_path, format_):
    (root / rows[-1]["midi_path"]).unlink()
    with pytest.raises(DatasetCorrupt, match="the MIDI file of segment web-0011_1 cannot be read"):
        exports.export(dataset, tmp_path / "out", format_)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset"]


def test_a_full_disk_is_one_line_and_leaves_nothing(dataset, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", full)
    with pytest.raises(DatasetNotWritable, match="no space left on the device"):
        exports.export(dataset, tmp_path / "out", "webdataset")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset"]


def test_what_a_killed_export_left_is_cleared_away_and_what_is_not_of_an_export_is_not(dataset, tmp_path):
    left = tmp_path / "out.partial"
    (left / "midi").mkdir(parents=True)
    (left / "midi" / "old.mid").write_bytes(b"x")
    with pytest.raises(UsageError, match="is in the way and not of an export"):
        exports.export(dataset, tmp_path / "out", "folder")
    assert (left / "midi" / "old.mid").exists()
    (left / ".lock").write_bytes(b"")
    exports.export(dataset, tmp_path / "out", "folder")
    assert not left.exists()
    exports.verify(tmp_path / "out")


def test_of_two_exports_into_one_folder_the_second_is_turned_away(dataset, tmp_path):
    def second(num_rows: int, _: int) -> None:
        if num_rows:
            with pytest.raises(DatasetLocked, match="out: another export is writing this folder"):
                exports.export(dataset, tmp_path / "out", "folder")

    exports.export(dataset, tmp_path / "out", "folder", progress=second)
    assert exports.verify(tmp_path / "out")["num_rows"] == 24


# ---------------------------------------------------------------- size


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """12,000 rows, one file of 10 kB for all of them, to be quick."""
    root = tmp_path_factory.mktemp("large")
    row = row_with_midi(root, "x_0", song(0) + bytes(10_000), split="train")
    names = [f"web-{number:05d}" for number in range(12_000)]
    Manifest(root).commit([row | {"segment_id": f"{name}_0", "recording_id": name} for name in names])
    return root


def num_files_in(folder: Path) -> dict[str, int]:
    return {path.name: len(list(path.iterdir())) for path in sorted(folder.iterdir())}


@pytest.mark.slow
def test_no_folder_has_more_files_than_it_may(large, tmp_path):
    exports.export(aria_data.Dataset(large), tmp_path / "folder", "folder", "segment_id < 'web-10500'")
    assert num_files_in(tmp_path / "folder" / "midi") == {"0000": 10_000, "0001": 500}
    exports.export(aria_data.Dataset(large), tmp_path / "aria", "aria", "segment_id < 'web-02500'")
    assert num_files_in(tmp_path / "aria" / "data") == {"aa": 1000, "ab": 1000, "ac": 500}


@pytest.mark.slow
def test_shards_are_bounded_and_memory_does_not_grow_with_the_number_of_files(large):
    """12,000 files of 10 kB are 120 MB; an export that gathered them would show."""
    script = (
        "import resource, sys, aria_data\n"
        "from aria_data import exports\n"
        "dataset = aria_data.Dataset(sys.argv[1])\n"
        "def peak_mb(name, where):\n"
        "    for format_ in ('huggingface', 'webdataset'):\n"
        "        exports.export(dataset, f'{sys.argv[1]}/{name}-{format_}', format_, where)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "few = peak_mb('few', \"segment_id < 'web-00600'\")\n"
        "print(peak_mb('all', '') - few)"
    )
    ran = subprocess.run([sys.executable, "-c", script, str(large)], capture_output=True, text=True, check=True)
    assert float(ran.stdout) < 60  # MB: the table of 12,000 rows and little else
    facts = json.loads((large / "all-webdataset" / "export.json").read_text())["files"]
    assert [counts["num_rows"] for counts in facts.values()] == [1_500] * 8
    assert 2 * webdataset.ROWS_PER_SHARD < 10_000
    names = sorted(path.name for path in (large / "all-huggingface" / "data" / "unique").iterdir())
    assert names == [f"train-{number:05d}-of-00008.parquet" for number in range(8)]


# ---------------------------------------------------------------- the command


def run(*arguments, code: int = 0):
    ended = CliRunner().invoke(
        dataset_commands.export, [str(argument) for argument in arguments], catch_exceptions=False
    )
    assert ended.exit_code == code, ended.output
    return ended


def test_the_command_exports_a_version_and_says_what_it_wrote(dataset, rows, root, tmp_path):
    Manifest(root).commit(rows[:10])
    ended = run(root, "--format", "folder", "--out", tmp_path / "out", "--version", 1, "--where", "split = 'test'")
    assert ended.stdout.startswith(f"Exported 6 MIDI files of version 1 to {tmp_path / 'out'} (9 files, ")
    assert "export       6/6 in" in ended.stderr
    facts = json.loads(run(root, "--format", "aria", "--out", tmp_path / "aria", "--json").stdout)
    assert (facts["num_rows"], facts["version"], facts["format"]) == (10, 2, "aria")


def test_the_command_knows_the_formats_of_the_library():
    assert dataset_commands.FORMATS == exports.FORMATS
    assert run("x", "--format", "zip", "--out", "y", code=2)
