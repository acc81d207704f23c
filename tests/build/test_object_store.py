"""Datasets in an object store: built as in a folder, read, removed from, killed, and kept from faults of the store."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import object_store as stores
import pyarrow as pa
import pytest
from browsing import Visitor
from click.testing import CliRunner
from fakes import manifest_row, melody, noise, use_fakes, write_audio
from places import ROOT, SUPPORT
from web_server import Site

import aria_data
from aria_data.errors import DatasetLocked
from aria_data.manifest import Manifest
from aria_data.records import Download, Rejection
from aria_data.release.reviews import Reviews
from aria_data.storage import open_root
from aria_data.storage.delta_tables import open_delta
from aria_data.storage.stage_tables import RecordTable, StageTable
from aria_data.stores.store_errors import StoreUnreachable
from flows.cli.command import cli
from flows.cli.jobs import run_build, run_crawl

SETTINGS = ("segment.min_segment_s=4", "ingest.min_duration_s=1", "screen.scorer=rules", "screen.min_relevance_score=3")
OF_A_SITE = ("web.allow_private=true", "web.min_interval_s=0", "web.jitter=0")
CHILD = SUPPORT / "build_child.py"
HANGS_S = 600  # a guard


def build(source, root, *more):
    return run_build(source, root, None, (*SETTINGS, *more), with_prefect=False)


def run(*arguments) -> str:
    ended = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return ended.output


def environment(patch, object_store, caches: Path) -> None:
    for name, value in object_store.environment().items():
        patch.setenv(name, value)
    patch.setenv("XDG_CACHE_HOME", str(caches))
    patch.setenv("ARIA_DATA_LEASE_S", "1")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Three takes, one of them twice, a violin, noise, and a file that is no audio."""
    folder = tmp_path_factory.mktemp("recordings")
    for seed in range(3):
        write_audio(folder / f"take {seed}.wav", melody(6, seed))
    shutil.copy(folder / "take 0.wav", folder / "take 0 again.wav")
    write_audio(folder / "violin sonata.wav", melody(6, 9))
    write_audio(folder / "rain.wav", noise(6))
    (folder / "broken.mp3").write_bytes(b"this is no audio")
    return folder


@pytest.fixture(scope="module")
def content(source, tmp_path_factory):
    """The content hash of a version built in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        use_fakes(patch)
        root = tmp_path_factory.mktemp("local") / "dataset"
        build(source, root)
        return Manifest(root).content_sha256()


@pytest.fixture(scope="module")
def built(object_store, source, tmp_path_factory):
    """(root, where its caches are) of a dataset in the store, which tests only read."""
    with pytest.MonkeyPatch.context() as patch:
        use_fakes(patch)
        caches = tmp_path_factory.mktemp("caches")
        environment(patch, object_store, caches)
        root = open_root(f"s3://{stores.BUCKET}/built-{os.urandom(4).hex()}")
        build(source, root)
        yield root, caches


@pytest.fixture
def root(bucket, object_store, monkeypatch, tmp_path):
    """An empty place in the store, and the stand-ins of the models."""
    use_fakes(monkeypatch)
    environment(monkeypatch, object_store, tmp_path / "cache")
    return open_root(bucket)


def test_a_dataset_in_a_store_has_the_rows_of_one_in_a_folder(built, content):
    root, _ = built
    assert Manifest(root).content_sha256() == content
    assert len(list((root / "midi").rglob("*.mid"))) == 3
    assert (root / "dataset.toml").is_file()
    assert (root / "CARD.md").is_file()
    assert {one.reason for one in RecordTable(root, "rejections", Rejection).read()} == {
        "same_bytes", "relevance_score_below_min", "no_solo_piano", "not_audio",
    }  # fmt: skip


def test_a_second_build_does_nothing(built, source):
    root, _ = built
    before = {path: info.etag for path, info in root.files().items() if path.parent.name != ".lock"}
    assert not build(source, root).is_new_version
    after = {path: info.etag for path, info in root.files().items() if path.parent.name != ".lock"}
    assert after == before


def test_a_second_build_without_the_note_of_the_first_finds_all_work_done(built, source):
    root, _ = built
    (root / "index" / "last_build.json").unlink()
    summary = build(source, root)
    assert not summary.is_new_version
    assert all(stage.num_worked_on == 0 for stage in summary.stages.values())


def test_scripts_and_training_read_from_a_store(built):
    root, _ = built
    dataset = aria_data.Dataset(str(root))
    rows = [(row["segment_id"], midi[:4]) for row, midi in dataset]
    assert len(rows) == 3
    assert {start for _, start in rows} == {b"MThd"}
    assert dataset.stats()["num_files"] == 3
    assert dataset.midi(rows[0][0])[:4] == b"MThd"
    assert repr(dataset) == f"Dataset('{root}', version=1)"


def test_workers_of_a_data_loader_read_from_a_store(built):
    """In a process of its own: a forked worker makes its own client."""
    root, _ = built
    code = f"""
import aria_data, torch.utils.data
dataset = aria_data.Dataset({str(root)!r})
first = next(iter(dataset))[1]
loaded = dataset.torch(load=lambda row, midi: midi[:4])
print(*sorted(torch.utils.data.DataLoader(loaded, batch_size=None, num_workers=2)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=HANGS_S, check=False
    )
    assert done.stdout.split() == ["b'MThd'"] * 3, done.stderr[-3000:]


def test_the_commands_that_look_read_from_a_store(built, tmp_path):
    root, _ = built
    (segment_id, *_) = sorted(row["segment_id"] for row in Manifest(root).rows())
    assert "3 rows" in run("query", root)
    assert f"{root}/midi/" in run("query", root, "--format", "paths")
    assert '"num_notes"' in run("show", root, segment_id, "--json")
    assert "in_pruned" in run("explain", root, segment_id)
    assert "not_audio" in run("rejections", root)
    assert '"number": 1' in run("versions", root, "--json")
    assert "3 files" in run("stats", root)
    assert segment_id in run("sql", root, "SELECT segment_id FROM measures", "--format", "csv")
    assert "3" in run("sql", root, "SELECT count(*) FROM present")
    assert "# " in run("card", root)
    run("plan", root)
    run("doctor", root)
    run("report", root, "--output", tmp_path / "report.html")
    assert f"aria-data sql {root} " in (tmp_path / "report.html").read_text()
    for layout in ("folder", "huggingface", "aria"):
        run("export", root, "--format", layout, "--out", tmp_path / layout)
    assert len(list((tmp_path / "folder").rglob("*.mid"))) == 3


def test_a_browser_shows_and_plays_a_dataset_in_a_store(built):
    root, _ = built
    segment_id = Manifest(root).rows()[0]["segment_id"]
    with Visitor(root) as visitor:
        assert segment_id in visitor.get("/").text
        assert segment_id in visitor.get("/segment", params={"id": segment_id}).text
        assert visitor.get("/notes.wav", params={"id": segment_id}).content[:4] == b"RIFF"


def test_no_credential_is_written_anywhere(built, capfd, tmp_path):
    root, caches = built
    run("report", root, "--output", tmp_path / "report.html")
    written = {str(path): path.read_bytes() for path in root.rglob("*")}
    for folder in (caches, tmp_path):
        written |= {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert len(written) > 40
    said = capfd.readouterr()
    written |= {"output": said.out.encode(), "errors": said.err.encode()}
    for secret in (stores.ACCESS_KEY, stores.SECRET_KEY):
        assert [name for name, content in written.items() if secret.encode() in content] == []


def test_what_is_removed_goes_from_the_store(root, source):
    build(source, root)
    row = Manifest(root).rows()[0]
    run("subset", root, "long", "--where", "num_notes > 2")
    Reviews(root).add(row, "good")
    run("remove", root, row["segment_id"], "--reason", "asked for")
    assert not (root / row["midi_path"]).exists()
    assert Manifest(root).version() == 3
    assert len(aria_data.Dataset(root).select("in_long")) == 2
    assert [review.verdict for review in Reviews(root).all()] == ["good"]
    summary = build(source, root)
    assert row["segment_id"] not in [one["segment_id"] for one in Manifest(root).query().to_pylist()]
    assert summary.candidates.num_not_done == 0


def build_when_free(source, root):
    """Build as soon as the lock of a killed build is free; give what was said until then."""
    refusals = []
    while True:
        try:
            return build(source, root), refusals
        except DatasetLocked as error:
            refusals.append(str(error))


@pytest.fixture(scope="module")
def children():
    """A process that forks a build for each line, with everything imported once."""
    with subprocess.Popen(
        [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        yield process
        process.stdin.close()


@pytest.mark.parametrize(
    ("place", "moment"),
    [
        ("commit", "after"),
        *(
            pytest.param(place, moment, marks=pytest.mark.slow)
            for place in ("append", "replace", "commit", "write_whole")
            for moment in ("before", "after")
            if (place, moment) != ("commit", "after")
        ),
    ],
)
def test_a_build_that_was_killed_is_carried_on(place, moment, root, source, content, built, children):
    given = [f"{name}={os.environ[name]}" for name in os.environ if name.startswith(("AWS_", "XDG_", "ARIA_"))]
    children.stdin.write(json.dumps([str(source), str(root), place, moment, *given]) + "\n")
    children.stdin.flush()
    lines = iter(children.stdout.readline, "")
    assert next(line for line in lines if line.startswith("ended")) == "ended -9\n"
    _, refusals = build_when_free(source, root)
    assert all("If it was killed, its lock is free in" in line for line in refusals)
    assert Manifest(root).content_sha256() == content
    ids = [row["segment_id"] for row in Manifest(root).rows()]
    assert len(ids) == len(set(ids)) == 3
    leftovers = [path for path in root.rglob("*") if path.name.endswith(".partial")]
    assert leftovers == []


@pytest.mark.slow
def test_of_two_builds_at_once_one_is_refused_and_the_other_undisturbed(root, source, content, tmp_path):
    machine = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "another machine")}
    with subprocess.Popen(
        [sys.executable, str(CHILD), str(source), str(root), "slow"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=machine,
    ) as other:  # fmt: skip
        assert other.stdout.readline().startswith("started")
        while not list((root / "midi").rglob("*.mid")):
            assert other.poll() is None, other.stderr.read()
        with pytest.raises(DatasetLocked, match=f"process {other.pid} on"):
            build(source, root)
        output, errors = other.communicate(timeout=HANGS_S)
    assert json.loads(output.splitlines()[-1])["version"] == 1, errors
    assert not build(source, root).is_new_version
    assert Manifest(root).content_sha256() == content


@pytest.fixture
def faults(object_store, root, monkeypatch):
    """The store behind a proxy that makes faults."""
    with stores.Faults(object_store, slow_s=0.3) as faults:
        monkeypatch.setenv("AWS_ENDPOINT_URL", faults.address)
        monkeypatch.setenv("ARIA_DATA_LEASE_S", "60")
        monkeypatch.setenv("ARIA_DATA_STORE_PATIENCE_S", "60")
        yield faults


ALONE = [pytest.param([fault], marks=pytest.mark.slow) for fault in (stores.BUSY, stores.SLOW, stores.CUT, stores.LOSE)]


@pytest.mark.parametrize("kinds", [[stores.BUSY, stores.SLOW, stores.CUT, stores.LOSE], *ALONE])
def test_a_build_is_the_same_whatever_becomes_of_some_requests(kinds, faults, root, source, content):
    faults.plan = stores.at_random(*kinds, share=0.05)
    try:
        summary = build(source, root)
    except StoreUnreachable:  # the answer to a release was lost: what it did is not known, and found by the next build
        assert {stores.CUT, stores.LOSE} & set(kinds)
        summary = build(source, root)
    assert {fault for fault, _, _ in faults.made} == set(kinds)
    assert summary.not_done == []
    assert Manifest(root).content_sha256() == content
    assert [version.number for version in Manifest(root).versions()] == [1]


@pytest.mark.parametrize("fault", [stores.BUSY, stores.CUT, stores.LOSE])
def test_some_rows_are_changed_by_one_commit_whatever_becomes_of_it(fault, faults, root):
    manifest = Manifest(root)
    manifest.commit([manifest_row(f"take_{number}") for number in range(9)])
    is_commit = lambda method, path: method == "PUT" and path.split("?")[0].endswith("02.json")  # noqa: E731
    faults.plan = lambda method, path, number: fault if is_commit(method, path) and not faults.made else stores.PASS
    new = pa.scalar("new")
    assert (
        manifest.revise(lambda rows: rows.drop_columns("title").append_column("title", pa.repeat(new, len(rows)))) == 2
    )
    assert [made[0] for made in faults.made] == [fault]
    assert [row["title"] for row in manifest.rows()] == ["new"] * 9
    assert len(open_delta(manifest.path).file_uris()) == len(list(manifest.path.rglob("*.parquet"))) / 2


def test_a_store_that_goes_away_stops_a_build_in_one_line_and_it_carries_on(faults, root, source, content, monkeypatch):
    monkeypatch.setenv("ARIA_DATA_STORE_PATIENCE_S", "1")
    monkeypatch.setenv("ARIA_DATA_LEASE_S", "1")
    faults.plan = lambda method, path, number: stores.BUSY if number > 60 else stores.PASS
    with pytest.raises(StoreUnreachable, match="does not answer .* run the same command again when it answers"):
        build(source, root)
    assert len(faults.made) > 3
    faults.plan = lambda method, path, number: stores.PASS
    monkeypatch.setenv("ARIA_DATA_STORE_PATIENCE_S", "60")
    build_when_free(source, root)  # the first one could not let go of its lock
    assert Manifest(root).content_sha256() == content


def test_fetched_audio_is_kept_in_the_store_and_read_on_another_machine(root, monkeypatch, tmp_path):
    with Site() as site:
        for number in range(2):
            site.add_audio(f"/{number}.flac", 6, number)
            site.add_page(f"/{number}.html", f"Sonata no. {number} for solo piano", audio=[f"/{number}.flac"])
        pages = tmp_path / "pages.txt"
        pages.write_text("".join(f"{site.address(f'/{number}.html')}\n" for number in range(2)))
        summary = build(pages, root, *OF_A_SITE)
        assert summary.num_files == 2, summary
    fetched = StageTable(root, "download", Download).all()
    assert sorted(path.relative_to(root).as_posix() for path in (root / "audio").rglob("*")) == sorted(
        one.record.audio_path for one in fetched
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    for path in list((root / "midi").rglob("*.mid")):
        path.unlink()  # so that they are transcribed again
    summary = build(None, root)
    assert summary.num_files == 2
    assert summary.not_done == []
    assert len(list((root / "midi").rglob("*.mid"))) == 2
    assert len(list((tmp_path / "another machine" / "aria-data" / "objects").rglob("*.flac"))) == 2


def test_a_crawl_is_gone_on_with_on_another_machine(root, monkeypatch, tmp_path):
    with Site() as site:
        site.add_audio("/a.flac", 6, 0)
        site.add_page("/a.html", "Sonata for solo piano", audio=["/a.flac"])
        seeds = f'crawl.seeds=["{site.address("/a.html")}"]'
        found = [run_crawl(root, None, (*OF_A_SITE, seeds), lambda summary: None)]
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
        found.append(run_crawl(root, None, (*OF_A_SITE, seeds), lambda summary: None))
        assert site.hits["/a.html"] == 1, found
    assert "Sonata for solo piano" in run("tree", root)
