"""The direction of imports, and what an import may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOUNS = [  # a noun imports only nouns listed before it
    "errors",
    "records",
    "files",
    "text",
    "disguises",
    "injections",
    "llm",
    "midi",
    "matching",
    "boundaries",
    "containers",
    "audio",
    "wholeness",
    "tables",
    "manifest_columns",
    "manifest_rows",
    "manifest_versions",
    "manifest_reading",
    "manifest",
    "figures",
    "dataset",
    "removals",
    "measures",
    "quality",
    "compiled",
    "note_patterns",
    "note_matching",
    "note_pairs",
    "note_index",
    "exclusions",
    "fingerprints",
    "kept_index",
    "splits",
    "caps",
    "subsets",
    "composers",
    "forms",
    "catalogues",
    "movements",
    "works",
    "opuses",
    "pianists",
    "performers",
    "readings",
    "credits",
    "parts",
    "quotes",
    "model_tags",
    "queries",
    "ledger",
    "transcribers",
    "addresses",
    "licences",
    "card",
    "pacing",
    "partials",
    "failures",
    "gate",
    "guard",
    "web",
    "robots",
    "incoming",
    "sources",
    "frontier",
    "opt_outs",
    "subset",
]
VERBS = [
    "collect",
    "crawl",
    "screen",
    "download",
    "ingest",
    "segment",
    "transcribe",
    "measure",
    "annotate",
    "prune",
    "deduplicate",
    "release",
    "exports",
    "evaluate",
]
GATHERS = "config"  # holds the verbs' own configurations together


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def library_modules() -> dict[str, set[str]]:
    """Each module of aria_data with the modules of aria_data that it imports, by first name below the package."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "aria_data").rglob("*.py"):
        name = path.relative_to(ROOT / "aria_data").with_suffix("").parts[0]
        imports = {module.split(".")[1] for module in imported_modules(path) if module.startswith("aria_data.")}
        found.setdefault(name, set()).update(imports - {name, "data"})
    return {name: imports for name, imports in found.items() if name not in ("__init__", "data")}


def test_every_module_of_the_library_is_a_noun_or_a_verb():
    assert set(library_modules()) == {*NOUNS, *VERBS, GATHERS}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_imports_no_verb(verb):
    assert not library_modules()[verb] & {*VERBS, GATHERS}


@pytest.mark.parametrize("noun", NOUNS)
def test_a_noun_imports_only_nouns_before_it(noun):
    assert library_modules()[noun] <= set(NOUNS[: NOUNS.index(noun)])


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("aria_data", ("flows", "classifiers", "prefect")), ("classifiers", ("flows", "aria_data", "prefect"))],
)
def test_libraries_import_nothing_from_above(package, forbidden):
    for path in (ROOT / package).rglob("*.py"):
        roots = {module.split(".")[0] for module in imported_modules(path)}
        assert not roots & set(forbidden), path


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
    assert not modules_after("import flows.cli_dataset") & {"torch", "prefect", "pandas", "pyarrow", "duckdb"}
