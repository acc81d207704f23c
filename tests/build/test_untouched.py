"""An end of a build that decides only what is touched gives what one gives that decides all. Networks are stand-ins."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import RATE, encode_audio, melody, use_fakes, write_audio
from test_copies import piece

from aria_data.manifest import Manifest, digests
from aria_data.manifest.digests import content_sha256
from aria_data.records import Rejection
from aria_data.release import SubsetRecipe
from aria_data.release.exclusions import Exclusion
from aria_data.release.reviews import Reviews
from aria_data.release.split_history import SplitHistory
from aria_data.storage.stage_tables import RecordTable
from flows.build.ending import Ending
from flows.cli.jobs import run_build
from flows.define_subset import define_recipe
from flows.remove import remove_items

SETTINGS = (
    "segment.min_segment_s=4", "segment.lead_s=0", "segment.tail_s=0", "ingest.min_duration_s=2",
    "release.test_share=0.3", "release.validation_share=0.3",
)  # fmt: skip
FACTS = ("counts", "subsets")  # counts: also of rejections, and of the kinds of number


def build(source: Path | None, out: Path, *settings: str):
    with pytest.MonkeyPatch.context() as patch:
        use_fakes(patch)
        return run_build(source, out, None, (*SETTINGS, *settings), with_prefect=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Recordings in `in` and a dataset of them in `out`: works with two recordings, a copy by sound, rubbish."""
    root = tmp_path_factory.mktemp("world")
    (root / "longer.toml").write_text("min_duration_s = 6.5\n")
    (root / "any.toml").write_text("min_duration_s = 1\n")
    titles = [
        "Chopin - Nocturne Op. 9 No. 1", "Chopin - Nocturne Op. 9 No. 2", "Chopin - Nocturne Op. 9 No. 2 again",
        "Bach - Prelude BWV 846", "Satie - Gnossienne No. 1", "Brahms - Intermezzo Op. 118 No. 2", "nothing known",
        "other",
    ]  # fmt: skip
    for seed, title in enumerate(titles):
        write_audio(root / "in" / f"{title}.wav", melody(6 + seed % 3, seed))
    write_audio(root / "in" / "Liszt - Consolation No. 3.flac", piece(1, 60))
    encode_audio(root / "in" / "liszt cons 3.mp3", 0.4 * piece(1, 60), "libmp3lame", RATE, codec_options={"b": "48000"})
    (root / "in" / "broken.mp3").write_bytes(b"this is no audio")
    limits = f"release.deduplicated_limits={root / 'longer.toml'}", f"release.pruned_limits={root / 'any.toml'}"
    build(root / "in", root / "out", *limits)
    assert {row["in_deduplicated"] for row in Manifest(root / "out").rows()} == {True, False}
    return root


# ---- what happens to the dataset, and then comes new: each gives the folder that the build is of


def one_of_a_known_work(root: Path, more: Path) -> None:
    write_audio(more / "Chopin - Nocturne Op. 9 No. 2 better.wav", melody(9, 20))


def another_piece_of_a_known_set(root: Path, more: Path) -> None:
    write_audio(more / "Chopin - Nocturne Op. 9 No. 3.wav", melody(7, 21))


def one_without_relation(root: Path, more: Path) -> None:
    write_audio(more / "Debussy - Reverie.wav", melody(7, 22))


def the_same_sound_as_two_are(root: Path, more: Path) -> None:
    encode_audio(more / "more.mp3", 0.7 * piece(1, 66), "libmp3lame", RATE, codec_options={"b": "64000"})


def a_longer_one_that_takes_the_place_of_two(root: Path, more: Path) -> None:
    write_audio(more / "Liszt - Consolation No. 3 whole.flac", piece(1, 90))


def the_same_samples_under_another_work(root: Path, more: Path) -> None:
    write_audio(more / "Scriabin - Prelude Op. 11 No. 4.flac", melody(6, 3))


def two_works_become_one_group(root: Path, more: Path) -> None:
    write_audio(more / "Bach - Prelude BWV 846 again.flac", 0.5 * piece(1, 75))  # linked by its sound alone


def one_after_another(root: Path, more: Path) -> None:
    for seed in range(3):
        write_audio(more / f"Satie - Gnossienne No. {seed + 1} live.wav", melody(8, 30 + seed))
        build(more, root / "out")
    write_audio(more / "Satie - Gnossienne No. 2 late.wav", melody(9, 40))


def a_removal(root: Path, more: Path) -> None:
    remove_items(root / "out", [Manifest(root / "out").rows()[0]["segment_id"]], "a test")
    one_of_a_known_work(root, more)
    build(more, root / "out")
    one_without_relation(root, more)


def a_subset(root: Path, more: Path) -> None:
    define_recipe(root / "out", "few", SubsetRecipe(where="duration_s > 6", max_recordings_per_composition=1))
    one_of_a_known_work(root, more)
    build(more, root / "out")
    another_piece_of_a_known_set(root, more)


def a_review(root: Path, more: Path) -> None:
    row = next(row for row in Manifest(root / "out").rows() if row["in_deduplicated"])
    Reviews(root / "out").add(row, "bad")
    one_of_a_known_work(root, more)
    build(more, root / "out", "release.reviews=exclude-bad")
    Reviews(root / "out").add(Manifest(root / "out").rows()[-1], "bad")
    another_piece_of_a_known_set(root, more)


def an_exclusion_list(root: Path, more: Path) -> None:
    Exclusion("mine", "a test", "a title", 1, 0, ("chopin:op9-2",)).save(root / "list.json")
    one_without_relation(root, more)
    build(more, root / "out", f'release.exclude=["{root / "list.json"}"]')
    another_piece_of_a_known_set(root, more)


def other_limits(root: Path, more: Path) -> None:
    one_without_relation(root, more)
    build(more, root / "out", "release.max_recordings_per_composition=0")
    one_of_a_known_work(root, more)


def a_row_that_goes_from_a_dataset_with_a_subset(root: Path, more: Path) -> None:
    for seed in range(8):
        write_audio(more / f"gone {seed}.wav", melody(8, 50 + seed))
    build(more, root / "out")
    define_recipe(root / "out", "few", SubsetRecipe(where="duration_s > 6"))
    build(more, root / "out")
    for seed in range(7):
        write_audio(more / f"gone {seed}.wav", np.zeros((8 * RATE, 1), np.float32))


def a_chain_of_copies_that_loses_one(root: Path, more: Path) -> None:
    chain = np.concatenate([piece(seed, 60) for seed in (5, 6, 7)])
    parts = chain[: 100 * RATE], chain[50 * RATE : 130 * RATE], chain[100 * RATE : 150 * RATE]
    for place, name in enumerate(("first", "middle", "last")):
        write_audio(more / f"{name}.flac", parts[place])
    build(more, root / "out")
    write_audio(more / "first.flac", melody(8, 60))


def a_subset_that_compares_rows(root: Path, more: Path) -> None:
    mean = "duration_s > (SELECT avg(duration_s) FROM manifest)"
    define_recipe(root / "out", "long", SubsetRecipe(where=mean))
    one_without_relation(root, more)
    build(more, root / "out")
    write_audio(more / "a long one.wav", melody(100, 70))


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def rejections_of_a_build_that_was_killed(root: Path, more: Path) -> None:
    write_audio(more / "short.wav", melody(7, 80))
    build(more, root / "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.build.ending.publish", killed)
        with pytest.raises(KeyboardInterrupt):
            build(more, root / "out", "segment.min_segment_s=7.5")
    (root / "out" / "dataset.toml").write_text((root / "out" / "dataset.toml").read_text().replace("7.5", "4"))
    one_of_a_known_work(root, more)


def audio_that_is_gone(root: Path, more: Path) -> None:
    (root / "in" / "Bach - Prelude BWV 846.wav").rename(root / "away.wav")
    one_of_a_known_work(root, more)


def audio_that_came_back(root: Path, more: Path) -> None:
    audio_that_is_gone(root, more)
    build(more, root / "out")
    (root / "away.wav").rename(root / "in" / "Bach - Prelude BWV 846.wav")


def a_lost_index(root: Path, more: Path) -> None:
    shutil.rmtree(root / "out" / "index" / "sound")
    the_same_sound_as_two_are(root, more)


TOUCHED = [
    one_of_a_known_work, another_piece_of_a_known_set, one_without_relation, the_same_sound_as_two_are,
    a_longer_one_that_takes_the_place_of_two, the_same_samples_under_another_work, two_works_become_one_group,
    one_after_another, a_removal, a_subset, an_exclusion_list, other_limits, audio_that_is_gone, audio_that_came_back,
    a_row_that_goes_from_a_dataset_with_a_subset, a_chain_of_copies_that_loses_one,
]  # fmt: skip
DECIDED_ANEW = [a_review, a_lost_index, a_subset_that_compares_rows, rejections_of_a_build_that_was_killed]


@pytest.fixture
def kept(monkeypatch) -> list[int]:
    """How many rows each build's end kept as they were; -1 where it decided all anew."""
    counts: list[int] = []
    release = Ending.release

    def counted(ending: Ending, name: str):
        counts.append(-1 if ending.kept is None else len(ending.kept))
        return release(ending, name)

    monkeypatch.setattr(Ending, "release", counted)
    return counts


@pytest.mark.parametrize("happens", [*TOUCHED, *DECIDED_ANEW], ids=lambda happens: happens.__name__)
def test_deciding_what_is_touched_gives_what_deciding_all_gives(happens, world, tmp_path, kept):
    away = world / "away.wav"
    root = tmp_path / "root"
    root.mkdir()
    (root / "in").symlink_to(world / "in")
    shutil.copytree(world / "out", root / "out")
    try:
        happens(root, tmp_path / "more")
        found = []
        for name in ("touched", "all"):
            out = shutil.copytree(root / "out", tmp_path / name)
            (out / "index" / "last_build.json").unlink(missing_ok=True)
            if name == "all":
                shutil.rmtree(out / "index" / "passed", ignore_errors=True)
            kept.clear()
            summary = build(tmp_path / "more", out)
            assert (kept[0] > 0) == (name == "touched" and happens not in DECIDED_ANEW)
            told = summary.candidates, summary.segments, summary.outside_subsets, summary.rejections, summary.failures
            found.append((result_of(out), told, {key: Manifest(out).versions()[-1].facts[key] for key in FACTS}))
        assert found[0] == found[1]
    finally:
        if (root / "away.wav").exists():
            (root / "away.wav").rename(world / "in" / "Bach - Prelude BWV 846.wav")
        assert not away.exists()


def result_of(out: Path) -> tuple[str, str, list[Rejection], dict[str, str], str, str]:
    manifest = Manifest(out)
    version = manifest.versions()[-1]
    rejected = RecordTable(out, "rejections", Rejection).read()
    card = (out / "CARD.md").read_text().replace(version.released_at, "")
    hours = f"{version.num_files} {version.hours:.9f} {version.num_removed}"
    assert version.content_sha256 == manifest.content_sha256() == content_sha256(manifest.rows())
    return version.content_sha256, hours, rejected, SplitHistory(out).read(), card, str(manifest.column_names())


def test_rows_that_nothing_touches_are_not_digested_again(world, tmp_path, monkeypatch):
    out = shutil.copytree(world / "out", tmp_path / "out")
    num_rows, digested = len(Manifest(out).rows()), []
    digests_of = digests.digests_of
    counted = lambda batch: (digested.append(len(batch)), digests_of(batch))[1]  # noqa: E731
    for place in ("stored_rows", "rows", "revising"):
        monkeypatch.setattr(f"aria_data.manifest.{place}.digests_of", counted)
    one_without_relation(tmp_path, tmp_path / "more")
    build(tmp_path / "more", out)
    assert len(Manifest(out).rows()) == num_rows + 1
    assert sum(digested) < num_rows
