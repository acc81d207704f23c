"""Named subsets: defined once, a column in every later version; a definition that cannot be applied changes nothing."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from fakes import manifest_row, melody, write_audio

from aria_data.errors import ConfigInvalid, DatasetCorrupt, DatasetNotFound, DatasetNotWritable, UsageError
from aria_data.manifest import Manifest
from aria_data.measure import load_limits, passing
from aria_data.release import SelectedRow, SubsetRecipe, Subsets
from flows import define_subset as subsetting
from flows.build import subset_columns
from flows.cli.command import cli


@pytest.fixture
def root(tmp_path):
    rows = [
        manifest_row(
            f"local-{number:02d}_0",
            num_notes=100 * number,
            composition_id=f"chopin:op{number % 3}" if number < 9 else "",
            audio_score=0.5 + number / 100,
            split="excluded" if number == 5 else "train",
        )
        for number in range(12)
    ]
    Manifest(tmp_path).commit(rows, facts={"code": {"version": "1"}, "name": "first"})
    return tmp_path


def inside(root, name: str, version=None) -> list[str]:
    table = Manifest(root).query(f"in_{name}", version, columns=["segment_id"])
    return [one[6:8] for one in table["segment_id"].to_pylist()]


def test_a_condition_makes_a_column_in_a_new_version_and_none_in_the_old(root):
    assert subsetting.define_recipe(root, "many", SubsetRecipe(where="num_notes >= 400")) == (2, 7)
    assert inside(root, "many") == ["04", "06", "07", "08", "09", "10", "11"]  # 05 is excluded from every split
    assert "in_many" not in Manifest(root).column_names(1)
    assert Manifest(root).versions()[1].note == "subset many: num_notes >= 400"


def test_what_the_version_was_made_from_stays_with_it_but_not_its_name(root):
    subsetting.define_recipe(root, "many", SubsetRecipe(where="num_notes >= 400"))
    facts = Manifest(root).versions()[1].facts
    assert facts["code"] == {"version": "1"}
    assert facts["counts"]["subsets"]["in_many"] == 7
    assert "name" not in facts
    assert "version 2" in (root / "CARD.md").read_text()


def test_so_many_recordings_of_each_known_composition_are_kept_the_surest_first(root):
    subsetting.define_recipe(root, "two", SubsetRecipe(max_recordings_per_composition=2))
    assert inside(root, "two") == ["02", "03", "04", "06", "07", "08", "09", "10", "11"]


def test_a_subset_is_judged_again_with_the_rows_of_a_later_version(root):
    subsetting.define_recipe(root, "many", SubsetRecipe(where="num_notes >= 1000"))
    rows = Manifest(root).rows() + [manifest_row("local-99_0", num_notes=5000, split="test")]
    again = Subsets(root).apply(rows, lambda limits: set())
    assert [row["segment_id"] for row in again if row["in_many"]] == ["local-10_0", "local-11_0", "local-99_0"]


def test_another_definition_replaces_the_old_one_and_a_deleted_one_leaves_no_column_behind(root):
    subsetting.define_recipe(root, "one", SubsetRecipe(where="num_notes = 100"))
    subsetting.define_recipe(root, "one", SubsetRecipe(where="num_notes = 200"))
    assert inside(root, "one") == ["02"]
    version = subsetting.forget(root, "one")
    assert all(row.get("in_one") is None for row in Manifest(root).rows(version))
    assert inside(root, "one", version - 1) == ["02"]
    with pytest.raises(DatasetNotFound, match="one: no such subset here. Known: none"):
        subsetting.forget(root, "one")


def test_the_same_definition_again_makes_no_version(root):
    for _ in range(2):
        assert subsetting.define_recipe(root, "one", SubsetRecipe(where="num_notes = 100"))[0] == 2


def test_a_selection_carries_weights_and_leaves_later_rows_out(root):
    rows = [SelectedRow("local-03_0", 1.5, 0.5, "by score"), SelectedRow("local-01_0", 0.5, 1.0, "explored")]
    assert subsetting.define_selection(root, "el2n_30", rows, {"summary": "el2n"}) == (2, 2)
    table = Manifest(root).query("in_el2n_30", columns=["segment_id", "weight_el2n_30"])
    assert table["weight_el2n_30"].to_pylist() == [0.5, 1.5]
    later = Subsets(root).apply([*Manifest(root).rows(), manifest_row("local-99_0")], lambda limits: set())
    assert later[-1]["in_el2n_30"] is False
    assert later[-1]["weight_el2n_30"] is None
    assert Subsets(root).selection("el2n_30")["local-03_0"] == rows[0]


def test_removed_rows_are_in_no_subset(root):
    rows = [row | ({"removed_in": 2} if row["num_notes"] == 400 else {}) for row in Manifest(root).rows()]
    Subsets(root).save_recipe("all", SubsetRecipe(where="true"))
    done = {row["segment_id"]: row.get("in_all") for row in Subsets(root).apply(rows, lambda limits: set())}
    assert done["local-04_0"] is None
    assert done["local-03_0"] is True


@pytest.mark.parametrize(
    ("name", "recipe", "words"),
    [
        ("bad", SubsetRecipe(where="no_such_column > 3"), "subset bad: the query cannot be understood"),
        ("bad", SubsetRecipe(where="true) or (select 1"), "subset bad"),
        ("bad", SubsetRecipe(where="(select count(*) from read_csv('/etc/passwd')) > 0"), "subset bad"),
        ("bad", SubsetRecipe(limits="nowhere.toml"), "subset bad: nowhere.toml: is neither a preset"),
        ("Bad-Name", SubsetRecipe(where="true"), "cannot be a column"),
        ("../../x", SubsetRecipe(where="true"), "cannot be a column"),
        ("pruned", SubsetRecipe(where="true"), "is a column of every manifest"),
    ],
)
def test_what_cannot_be_followed_is_refused_in_one_line_and_changes_nothing(root, name, recipe, words):
    with pytest.raises((UsageError, ConfigInvalid), match=words) as raised:
        subsetting.define_recipe(root, name, recipe)
    assert "\n" not in str(raised.value)
    assert Manifest(root).version() == 1
    assert Subsets(root).names() == []


def test_a_failed_change_keeps_the_old_definition(root):
    subsetting.define_recipe(root, "one", SubsetRecipe(where="num_notes = 100"))
    with pytest.raises(ConfigInvalid):
        subsetting.define_recipe(root, "one", SubsetRecipe(where="nonsense ="))
    assert Subsets(root).about("one")["where"] == "num_notes = 100"


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b"\xff\xfe"])
def test_a_damaged_definition_says_what_to_do(root, damage):
    subsetting.define_recipe(root, "one", SubsetRecipe(where="num_notes = 100"))
    (root / "subsets" / "one.json").write_bytes(damage)
    with pytest.raises(DatasetCorrupt, match="is damaged. Delete it and define the subset again"):
        Subsets(root).apply(Manifest(root).rows(), lambda limits: set())


def run(*arguments: str):
    return CliRunner().invoke(cli, list(arguments))


def test_the_commands_define_list_ask_and_forget(root, tmp_path):
    said = run("subset", str(root), "many", "--where", "num_notes >= 400", "--max-per-composition", "1")
    assert said.output == "in_many holds 6 files of version 2.\n"
    listed = run("subsets", str(root), "--json")
    about = json.loads(listed.output)
    assert (about["name"], about["num_rows"], about["max_recordings_per_composition"]) == ("many", 6, 1)
    asked = run("query", str(root), "in_many and num_notes > 900", "--format", "jsonl")
    assert [json.loads(line)["num_notes"] for line in asked.output.splitlines()] == [1000, 1100]
    assert (
        run("subset", str(root), "many", "--delete").output
        == "Subset many is forgotten; from version 3 on no file is in it.\n"
    )
    assert "No named subsets" in run("subsets", str(root)).output


def test_a_recipe_can_be_a_file(root, tmp_path):
    recipe = tmp_path / "ours.toml"
    recipe.write_text('where = "num_notes > 900"\nnote = "long ones"\n')
    assert "in_ours holds 2 files" in run("subset", str(root), "ours", "--recipe", str(recipe)).output
    recipe.write_text("wher = 3\n")
    result = run("subset", str(root), "ours", "--recipe", str(recipe))
    assert "unknown key 'wher'. Did you mean 'where'?" in str(result.exception)


def test_a_query_can_be_capped_at_so_many_recordings_of_a_composition(root):
    said = run("query", str(root), "num_notes < 900", "--max-per-composition", "1", "--format", "jsonl")
    assert [json.loads(line)["num_notes"] for line in said.output.splitlines()] == [600, 700, 800]


def test_a_version_is_asked_for_by_its_name(root):
    subsetting.define_recipe(root, "many", SubsetRecipe(where="num_notes >= 400"))
    said = run("query", str(root), "num_notes > 900", "--version", "first", "--format", "jsonl")
    assert "in_many" not in said.output
    assert len(said.output.splitlines()) == 2
    difference = run("diff", str(root), "first", "2", "--json").output
    assert set(map(tuple, json.loads(difference)["changed"].values())) == {("in_many",)}


# ---------------------------------------------------------------- what is on disk may be anyone's


RECIPES = [
    {"where": 5},
    {},
    {"where": "true", "max_recordings_per_composition": -1},
    {"where": "true", "max_recordings_per_composition": "3"},
    {"where": "true", "max_recordings_per_composition": True},
    {"limits": 7},
    {"limits": "one.toml"},  # which is not there
    {"where": "true", "note": ["x"]},
]


@pytest.mark.parametrize(
    "text",
    [
        *(json.dumps({"kind": "recipe", **recipe}) for recipe in RECIPES),
        '{"kind": "recipe", "where": ' + "[" * 100_000,
        '{"kind": ["recipe"]}',
        '{"kind": "selection"}',
        '{"kind": "selection", "num_rows": 3, "share": NaN}',
    ],
    ids=lambda text: text[:60],
)
def test_a_definition_of_other_types_is_one_line_and_can_be_deleted(root, text):
    (root / "subsets").mkdir()
    (root / "subsets" / "one.json").write_text(text)
    with pytest.raises(DatasetCorrupt, match=r"one\.json: is damaged. Delete it") as raised:
        subsetting.define_recipe(root, "two", SubsetRecipe(where="num_notes = 100"))
    assert "\n" not in str(raised.value)
    assert subsetting.forget(root, "one") == 1  # no version had it
    assert subsetting.define_recipe(root, "two", SubsetRecipe(where="num_notes = 100")) == (2, 1)


def test_of_two_damaged_definitions_each_can_be_deleted(root):
    (root / "subsets").mkdir()
    for name in ("one", "two"):
        (root / "subsets" / f"{name}.json").write_text("{}")
    with pytest.raises(DatasetCorrupt, match=r"two\.json"):
        subsetting.forget(root, "one")
    subsetting.forget(root, "two")
    assert Subsets(root).names() == []


def test_files_that_are_no_subsets_are_left_alone(root):
    (root / "subsets").mkdir()
    (root / "subsets" / "Bad Name.json").write_text("{}")
    (root / "subsets" / "pruned.json").write_text("{}")
    (root / "subsets" / "folder.json").mkdir()
    assert Subsets(root).names() == []
    assert subsetting.define_recipe(root, "one", SubsetRecipe(where="num_notes = 100")) == (2, 1)


SELECTED = {"segment_id": ["local-01_0", "local-03_0"], "weight": [0.5, 1.5], "inclusion_prob": [1.0, 1.0]}


@pytest.mark.parametrize(
    "values",
    [
        {"other": [1, 2]},
        SELECTED,
        SELECTED | {"reason": ["", ""], "segment_id": ["local-01_0", None]},
        SELECTED | {"reason": ["", ""], "weight": [None, 1.0]},
        SELECTED | {"reason": ["", ""], "segment_id": ["local-01_0", "local-01_0"]},
        {name: values[:1] for name, values in {**SELECTED, "reason": [""]}.items()},
        SELECTED | {"reason": ["", ""], "weight": ["much", "more"]},
    ],
    ids=["none of its columns", "no reason", "no id", "no weight", "an id twice", "a row less", "words as weights"],
)
def test_a_damaged_selection_is_no_empty_subset(root, values):
    rows = [SelectedRow("local-03_0", 1.5), SelectedRow("local-01_0", 0.5)]
    subsetting.define_selection(root, "ours", rows, {})
    pq.write_table(pa.table(values), root / "subsets" / "ours.parquet")
    with pytest.raises(DatasetCorrupt, match=r"ours\.parquet: is missing or damaged. Select it again"):
        Subsets(root).apply(Manifest(root).rows(), lambda limits: set())


# ---------------------------------------------------------------- a recipe is a function of the rows


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ("random() < 0.5", "random"),
        ("CURRENT_DATE > date '2020-01-01'", "current_date"),
        ("Now() is not null", "now"),
        ("current_timestamp is not null", "current_timestamp"),
        ('"uuid"()::varchar < segment_id', "uuid"),
        ("segment_id in (select segment_id from manifest using sample 3)", "a sample"),
    ],
)
def test_a_condition_that_would_choose_others_each_time_is_refused(root, where, named):
    with pytest.raises(ConfigInvalid, match=f"subset one: the condition uses {named}, so the same rows"):
        subsetting.define_recipe(root, "one", SubsetRecipe(where=where))
    assert Manifest(root).query(where) is not None  # once asked, it is a question like others


def test_words_in_quotes_are_no_functions(root):
    where = "title <> 'random()' and length(title) < 99 -- now()"
    assert subsetting.define_recipe(root, "one", SubsetRecipe(where=where)) == (2, 11)


def measured(root, monkeypatch):
    """Measures of the rows, in place of a stage table: number of notes by segment."""
    measures = {row["segment_id"]: {"num_notes": row["num_notes"]} for row in Manifest(root).rows()}
    monkeypatch.setattr(subset_columns, "passing", lambda root, limits: passing(measures, load_limits(limits)))


def test_limits_of_a_file_are_kept_with_the_subset(root, tmp_path, monkeypatch):
    measured(root, monkeypatch)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (elsewhere / "lim.toml").write_text("min_num_notes = 900\n")
    assert subsetting.define_recipe(root, "ours", SubsetRecipe(limits="lim.toml")) == (2, 3)
    assert Subsets(root).about("ours")["limits"] == {"min_num_notes": 900.0}
    (elsewhere / "lim.toml").unlink()
    monkeypatch.chdir(tmp_path)
    rows = Subsets(root).apply(Manifest(root).rows(), lambda limits: subset_columns.passing(root, limits))
    assert [row["num_notes"] for row in rows if row["in_ours"]] == [900, 1000, 1100]


def test_other_limits_in_the_same_file_are_another_definition(root, tmp_path, monkeypatch):
    measured(root, monkeypatch)
    for number, version in ((900, 2), (900, 2), (901, 3)):
        (tmp_path / "lim.toml").write_text(f"min_num_notes = {number}\n")
        recipe = SubsetRecipe(limits=str(tmp_path / "lim.toml"))
        assert subsetting.define_recipe(root, "ours", recipe)[0] == version
    subsetting.define_recipe(root, "ours", SubsetRecipe(where="true"))
    assert [path.name for path in (root / "subsets").iterdir()] == ["ours.json"]


def test_a_build_from_another_folder_follows_the_limits_and_says_them(build, tmp_path, monkeypatch):
    write_audio(tmp_path / "recordings" / "one.wav", melody(8, 1))
    dataset, limits = tmp_path / "dataset", tmp_path / "lim.toml"
    build(tmp_path / "recordings", dataset)
    limits.write_text("max_num_notes = 5000\n")
    monkeypatch.chdir(tmp_path)
    assert subsetting.define_recipe(dataset, "ours", SubsetRecipe(limits="lim.toml")) == (2, 1)
    limits.unlink()
    monkeypatch.chdir("/")
    write_audio(tmp_path / "recordings" / "other.wav", melody(8, 2))
    assert build(tmp_path / "recordings", dataset).version == 3
    assert Manifest(dataset).query("in_ours").num_rows == Manifest(dataset).query("").num_rows == 2
    said = Manifest(dataset).versions()[-1].facts["subsets"]["ours"]["limits"]
    assert said == {"min_num_notes": 8.0, "max_num_notes": 5000.0}


# ---------------------------------------------------------------- definitions and versions


def test_a_version_says_how_each_of_its_subsets_is_defined(root):
    subsetting.define_recipe(root, "one", SubsetRecipe(where="num_notes = 100", note="short"))
    subsetting.define_selection(root, "two", [SelectedRow("local-03_0")], {"summary": "by hand"})
    subsetting.forget(root, "one")
    first, second, third, fourth = (version.facts.get("subsets") for version in Manifest(root).versions())
    assert first is None
    assert second == {"one": Subsets(root).definitions().get("one", second["one"])}
    assert (second["one"]["where"], second["one"]["note"]) == ("num_notes = 100", "short")
    assert third == second | fourth
    assert fourth == {"two": {"kind": "selection", "summary": "by hand", "num_rows": 1}}


def test_another_definition_of_the_same_rows_is_a_version_that_says_so(root):
    subsetting.define_recipe(root, "one", SubsetRecipe(where="num_notes = 100"))
    assert subsetting.define_recipe(root, "one", SubsetRecipe(where="num_notes < 101 and num_notes > 0")) == (3, 1)
    version = Manifest(root).versions()[-1]
    assert version.note == "subset one: num_notes < 101 and num_notes > 0"
    assert version.facts["subsets"]["one"]["where"] == "num_notes < 101 and num_notes > 0"


@pytest.mark.parametrize("was", ["", "num_notes = 100"])
def test_a_commit_that_fails_leaves_the_definition_as_it_was(root, monkeypatch, was):
    if was:
        subsetting.define_recipe(root, "one", SubsetRecipe(where=was))

    def full(*arguments, **values):
        raise DatasetNotWritable("no space left on the device")

    monkeypatch.setattr(Manifest, "revise", full)
    with pytest.raises(DatasetNotWritable):
        subsetting.define_recipe(root, "one", SubsetRecipe(where="num_notes = 200"))
    assert [one["where"] for one in Subsets(root).definitions().values()] == ([was] if was else [])


def test_a_version_whose_card_could_not_be_written_keeps_its_definition(root, monkeypatch):
    def full(*arguments):
        raise DatasetNotWritable("no space left on the device")

    monkeypatch.setattr("flows.build.publish.write_card", full)
    with pytest.raises(DatasetNotWritable):
        subsetting.define_recipe(root, "one", SubsetRecipe(where="num_notes = 200"))
    assert inside(root, "one") == ["02"]
    assert Subsets(root).names() == ["one"]


def test_only_a_subset_that_was_there_is_to_be_defined_again(root):
    with pytest.raises(ConfigInvalid) as raised:
        subsetting.define_recipe(root, "one", SubsetRecipe(where="nonsense ="))
    assert "Define it again" not in str(raised.value)
    Subsets(root).save_recipe("old", SubsetRecipe(where="gone = 1"))
    with pytest.raises(ConfigInvalid, match=r"subset old: .* Define it again, or delete it\."):
        subsetting.define_recipe(root, "one", SubsetRecipe(where="num_notes = 100"))


def test_a_recipe_nested_too_deeply_is_one_line(root, tmp_path):
    (tmp_path / "deep.toml").write_text("where = " + "[" * 100_000)
    for option in ("--recipe", "--limits"):
        result = run("subset", str(root), "one", option, str(tmp_path / "deep.toml"))
        assert isinstance(result.exception, ConfigInvalid)
        assert "\n" not in str(result.exception)
    assert Subsets(root).names() == []
