"""Named subsets: defined once, a column in every later version; what cannot be followed changes nothing."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from fakes import manifest_row

from aria_data.errors import ConfigInvalid, DatasetCorrupt, DatasetNotFound, UsageError
from aria_data.manifest import Manifest
from aria_data.subsets import SelectedRow, SubsetRecipe, Subsets
from flows import subsets as subsetting
from flows.cli import cli


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
    assert run("subset", str(root), "many", "--delete").output == "Subset many is forgotten; version 3 is without it.\n"
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
    assert "changed 12\n       12 other in_many" in run("diff", str(root), "first", "2").output
