"""A version in which some rows changed is the same, byte by byte, as one committed from all rows."""

from __future__ import annotations

import random

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from fakes import manifest_row
from hypothesis import given, settings
from hypothesis import strategies as st

from aria_data.errors import DatasetNotWritable, UsageError
from aria_data.manifest import Manifest, bucket_files
from aria_data.manifest.bucket_files import put_files
from aria_data.manifest.columns import DIGEST, arrow_schema
from aria_data.manifest.digests import digest_of, digests_of
from aria_data.manifest.manifest import content_sha256
from aria_data.release import SubsetRecipe, Subsets
from aria_data.release.removals import Removals
from aria_data.release.tombstones import Known, named_segments, tombstone
from aria_data.storage.delta_tables import KEEP_HISTORY, open_delta, remove_orphans
from flows.define_subset import define_recipe, forget
from flows.remove import remove_items

VALUES = {
    pa.string(): st.text() | st.text(st.sampled_from('az"\\/ \n\t\x00\x7f\u2028é😀')) | st.none(),
    pa.int64(): st.integers(-(2**63), 2**63 - 1) | st.none(),
    pa.float64(): st.floats()
    | st.floats(1e-6, 1e18)
    | st.sampled_from([0.0, -0.0, 1.0, 1e15, 1e16, 1e22, 1e-5, 5e-324])
    | st.none(),
    pa.bool_(): st.booleans() | st.none(),
}
ROW = st.fixed_dictionaries(
    {field.name: VALUES[field.type] for field in [*arrow_schema(), pa.field("in_x", pa.bool_())]}
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=4))
def test_a_column_at_a_time_gives_the_digest_of_each_row(rows):
    batch = pa.RecordBatch.from_pylist(rows, schema=arrow_schema(["in_x"]))
    assert digests_of(batch).to_pylist() == [digest_of(row) for row in batch.to_pylist()]


def rows_of(count: int) -> list[dict]:
    draw = random.Random(count)
    texts = ["", "Für Elise", 'a "b" \\ c', "plain", None]
    return [
        manifest_row(
            f"web-{number:04d}_0",
            source_url=f"https://example.org/{number}",
            title=draw.choice(texts),
            duration_s=draw.random() * 300,
            num_notes=draw.randrange(2000),
            composition_id=draw.choice(["", None, "chopin:op9", "bach:bwv846"]),
            audio_score=draw.random(),
            split=draw.choice(["train", "test", "excluded"]),
            chroma_agreement=draw.choice([None, 0.25, 1.0, 1e-7]),
        )
        for number in range(count)
    ]


def stored(root, version: int | None = None) -> dict[str, str]:
    """The digests as they are in the files."""
    table = open_delta(root / "manifest", version).to_pyarrow_table(columns=["segment_id", DIGEST])
    return dict(zip(table["segment_id"].to_pylist(), table[DIGEST].to_pylist(), strict=True))


def assert_same(revised, committed) -> None:
    """Two datasets whose newest versions have the same rows, digests, hash, numbers and columns."""
    assert Manifest(revised).rows() == Manifest(committed).rows()
    assert stored(revised) == stored(committed)
    assert stored(revised) == {row["segment_id"]: digest_of(row) for row in Manifest(revised).rows()}
    ours, theirs = (Manifest(root).versions()[-1] for root in (revised, committed))
    kept = ("number", "num_files", "hours", "num_removed", "content_sha256", "note", "facts")
    assert {name: getattr(ours, name) for name in kept} == {name: getattr(theirs, name) for name in kept}
    assert ours.content_sha256 == content_sha256(Manifest(revised).rows())


@pytest.mark.parametrize("seed", range(3))
def test_a_revision_is_what_a_commit_of_all_rows_is(tmp_path, seed):
    rows, draw = rows_of(60), random.Random(seed)
    one, other = (Manifest(tmp_path / name) for name in ("revised", "committed"))
    for manifest in (one, other):
        manifest.commit(rows)
    for turn in range(3):
        chosen = set(draw.sample([row["segment_id"] for row in rows], 7))
        rows = [
            row | ({"title": f"turn {turn}", "in_x": True, "weight_y": 0.5} if row["segment_id"] in chosen else {})
            for row in rows
        ]
        made = {row["segment_id"]: row for row in rows}

        def change(given: pa.Table, made=made) -> pa.Table:
            given = given.to_pylist()
            return pa.Table.from_pylist(
                [made[row["segment_id"]] for row in given], schema=arrow_schema(["in_x", "weight_y"])
            )

        assert one.revise(change, "a note", {"a": 1}, chosen if turn else None) == other.commit(
            rows, "a note", {"a": 1}
        )
        assert_same(one.root, other.root)


def test_only_the_buckets_of_changed_rows_are_read_and_written(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.commit(rows_of(200))
    before = set((tmp_path / "manifest").rglob("*.parquet"))
    seen = []

    def change(rows: pa.Table) -> pa.Table:
        seen.append(rows.num_rows)
        chosen = rows.filter(pc.equal(rows["segment_id"], "web-0003_0"))
        return chosen.set_column(chosen.schema.get_field_index("title"), "title", pa.array(["new"]))

    assert manifest.revise(change, segment_ids=["web-0003_0"]) == 2
    assert len(seen) == 1
    assert max(seen) < 40
    assert len(set((tmp_path / "manifest").rglob("*.parquet")) - before) == 1


def test_a_revision_that_changes_nothing_is_no_version_unless_it_is_asked_for(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.commit(rows_of(9))
    assert manifest.revise(lambda rows: rows) == 1
    assert manifest.revise(lambda rows: rows, "said", always=True) == 2
    assert manifest.rows(2) == manifest.rows(1)
    assert manifest.versions()[1].content_sha256 == manifest.versions()[0].content_sha256


def test_a_revision_may_not_bring_rows_that_were_not_there(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.commit(rows_of(3))
    strange = pa.Table.from_pylist([manifest_row("other_0")], schema=arrow_schema())
    with pytest.raises(UsageError, match="rows that it was not given"):
        manifest.revise(lambda rows: strange)
    with pytest.raises(UsageError, match="one row twice"):
        manifest.revise(lambda rows: pa.concat_tables([rows, rows]))
    assert manifest.version() == 1


def in_whole_rows(root, change, note: str, subsets: dict | None = None) -> None:
    """The next version as it was made before there were revisions: all rows as Python values, committed."""
    manifest = Manifest(root)
    from flows.build.publish import publish

    kept = {key: value for key, value in manifest.versions()[-1].facts.items() if key not in ("name", "counts")}
    rows = change(manifest.rows())
    from flows.build.provenance import counts_of

    facts = kept | {"counts": counts_of(rows)} | ({} if subsets is None else {"subsets": subsets})
    publish(root, rows, note, facts)


def test_a_removal_gives_the_version_and_the_card_that_all_rows_gave(tmp_path):
    for name in ("revised", "committed"):
        Manifest(tmp_path / name).commit(rows_of(80), facts={"code": {"version": "1"}, "name": "first"})
    remove_items(tmp_path / "revised", ["web-0003", "https://example.org/17", "web-0021_0"], "takedown")
    gone = {"web-0003_0", "web-0017_0", "web-0021_0"}

    def change(rows):
        return [tombstone(row, 2, "takedown") if row["segment_id"] in gone else row for row in rows]

    in_whole_rows(tmp_path / "committed", change, "removed: takedown")
    assert_same(tmp_path / "revised", tmp_path / "committed")
    texts = [(tmp_path / name / "CARD.md").read_text() for name in ("revised", "committed")]
    assert texts[0] == texts[1]


def test_subsets_give_the_versions_and_cards_that_all_rows_gave(tmp_path):
    one, other = tmp_path / "revised", tmp_path / "committed"
    rows = [tombstone(row, 1, "gone") if number % 9 == 4 else row for number, row in enumerate(rows_of(80))]
    for root in (one, other):
        Manifest(root).commit([row | {"in_foreign": True} for row in rows], facts={"code": {"version": "1"}})
    recipes = {
        "many": SubsetRecipe(where="num_notes > (SELECT avg(num_notes) FROM manifest)"),
        "capped": SubsetRecipe(where="audio_score > 0.2", max_recordings_per_composition=2),
    }
    for name, recipe in recipes.items():
        define_recipe(one, name, recipe)
        Subsets(other).save_recipe(name, recipe)
        note = Manifest(one).versions()[-1].note
        in_whole_rows(other, lambda all_rows: Subsets(other).apply(all_rows, set), note, Subsets(other).definitions())
        assert_same(one, other)
        assert (one / "CARD.md").read_text() == (other / "CARD.md").read_text()
    forget(one, "many")
    Subsets(other).delete("many")
    in_whole_rows(
        other, lambda all_rows: Subsets(other).apply(all_rows, set), "subset many deleted", Subsets(other).definitions()
    )
    assert_same(one, other)


def test_a_removal_names_rows_by_what_any_candidate_said(tmp_path):
    from aria_data.records import Candidate
    from aria_data.storage.stage_tables import DONE, Outcome, StageTable

    table = StageTable(tmp_path, "collect", Candidate)
    for name in ("a", "b"):
        url = f"https://{name}.example/x"
        one = Candidate(f"web-{name}", "web", url, url, "title", description="long", uploader=f"Jane {name}")
        table.append([Outcome(name, name, DONE, record=one)])
    Removals(tmp_path).add(["uploader:jane B"], "asked")
    known = Known.read(tmp_path)
    rows = [manifest_row(f"web-{name}_0", source_url=f"https://{name}.example/x") for name in ("a", "b")]
    assert named_segments(known, pa.Table.from_pylist(rows, arrow_schema()), Removals(tmp_path).by_id().values()) == {
        "web-b_0": "asked"
    }
    assert known.has("web-a")
    assert known.has("https://b.example/x")
    assert not known.has("web-c")


def test_a_revision_that_fails_half_way_leaves_no_file(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.commit(rows_of(200))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    seen = []

    def change(rows: pa.Table) -> pa.Table:
        seen.append(rows)
        if len(seen) == 9:
            raise UsageError("no more")
        return rows.set_column(rows.schema.get_field_index("title"), "title", pa.array(["new"] * len(rows)))

    with pytest.raises(UsageError, match="no more"):
        manifest.revise(change)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
    assert manifest.version() == 1


@pytest.mark.parametrize("is_committed", [True, False])
def test_files_stay_if_and_only_if_a_commit_names_them(tmp_path, monkeypatch, is_committed):
    manifest = Manifest(tmp_path)
    manifest.commit(rows_of(50))
    before = set(tmp_path.rglob("*.parquet"))

    def fails(*given):
        if is_committed:
            put_files(*given)
        raise DatasetNotWritable("the disk is full")

    monkeypatch.setattr(bucket_files, "put_files", fails)
    with pytest.raises(DatasetNotWritable, match="disk is full"):
        manifest.revise(lambda rows: rows.drop_columns("title").append_column("title", pa.array(["new"] * len(rows))))
    assert {row["title"] == "new" for row in manifest.rows()} == {is_committed}
    assert (set(tmp_path.rglob("*.parquet")) != before) == is_committed


def test_what_a_killed_revision_left_is_collected(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.commit(rows_of(50))
    some = next(iter((tmp_path / "manifest").rglob("*.parquet")))
    for name in ("part-0.parquet", "part-1.parquet.partial"):
        some.with_name(name).write_bytes(some.read_bytes())
    assert remove_orphans(tmp_path / "manifest") == 2
    assert manifest.rows() == manifest.rows(1)


def test_columns_and_settings_of_the_table_outlive_a_revision(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.commit([row | {"in_x": True} for row in rows_of(9)])
    manifest.revise(lambda rows: rows.drop_columns("in_x").append_column("weight_y", pa.array([0.5] * len(rows))))
    assert {(row["in_x"], row["weight_y"]) for row in manifest.rows()} == {(None, 0.5)}
    assert {row["in_x"] for row in manifest.rows(1)} == {True}
    assert open_delta(tmp_path / "manifest").metadata().configuration == KEEP_HISTORY
    assert manifest.rows_of(["web-0003_0"])["weight_y"].to_pylist() == [0.5]
