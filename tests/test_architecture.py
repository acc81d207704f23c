"""The direction of imports, the shape of the tree, and what an import may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.api import read_configuration
from places import ROOT

PACKAGES = ("aria_data", "classifiers", "flows")
MAX_FILES = 17  # in a folder; more is a corridor
PLAIN_MODULES = {"aria_data": {"config", "errors", "records"}}  # what everybody needs
RECIPES = {
    "align", "build_dataset", "check_scores", "compare_subsets", "crawl", "define_subset", "fetch", "remove",
    "select_subset", "serve",
}  # fmt: skip


def modules_in(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.py")} - {"__init__"}


def folders() -> list[Path]:
    return sorted({path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")})


def test_imports_go_one_way_and_never_in_circles():
    """In a process of its own: the linter disables every logger there is."""
    linter = Path(sys.executable).with_name("lint-imports")
    checked = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, "run `make check`: it shows the import that goes the wrong way"


def test_every_room_has_its_place_in_the_contracts():
    contracts = read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    layered = {container: each for each in contracts for container in each.get("containers", ())}
    assert {"aria_data", "flows"} <= layered.keys()
    assert all(each["exhaustive"] in (True, "True") for each in layered.values())


@pytest.mark.parametrize("planted", ["import aria_data.release.rows_of_segments", "import flows.show"])
def test_an_import_against_the_direction_is_found(planted, tmp_path):
    """The contracts would be worth nothing if they were kept by a tree that breaks them."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    with open(tmp_path / "aria_data" / "text" / "quotes.py", "a") as file:
        file.write(f"\n{planted}\n")
    run = subprocess.run(
        [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 1, run.stderr
    assert "aria_data.text.quotes" in run.stdout


def test_only_what_everybody_needs_and_recipes_lie_outside_the_folders():
    assert modules_in(ROOT / "aria_data") == PLAIN_MODULES["aria_data"]
    assert modules_in(ROOT / "flows") == RECIPES


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_folder_is_a_room_not_a_closet_nor_a_corridor(folder):
    assert modules_in(folder), folder
    assert len(list(folder.glob("*.py"))) <= MAX_FILES, folder
    assert len(folder.relative_to(ROOT).parts) <= 2 or folder.name in ("sources", "backends")


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_folder_says_what_it_is(folder):
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert len(said) > 40, f"{folder}/__init__.py says nothing"


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(name.split('.')[0] for name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "statement", ["import aria_data", "import classifiers", "import flows.cli", "import aria_data.config"]
)
def test_a_light_import_loads_neither_torch_nor_prefect(statement):
    assert not modules_after(statement) & {"torch", "torchaudio", "prefect"}


def test_the_library_is_light_until_its_dataset_is_asked_for():
    assert not modules_after("import aria_data") & {"torch", "prefect", "pandas", "pyarrow", "duckdb"}
    assert not modules_after("import aria_data; aria_data.Dataset") & {"torch", "prefect", "duckdb"}
    assert not modules_after("import flows.cli.look") & {"torch", "prefect", "pandas", "pyarrow", "duckdb"}
