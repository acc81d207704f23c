"""The provenance of a release: configuration, code, models, prompts, libraries, counts."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from aria_data.config import BuildConfig, to_values
from aria_data.manifest.rows import table_of
from aria_data.manifest.stored_rows import StoredColumns
from aria_data.release import Subsets, find_exclusion
from aria_data.transcribe import backends

if TYPE_CHECKING:
    from aria_data.manifest import Row
    from flows.engine.context import BuildContext

LIBRARIES = ("torch", "torchaudio", "transkun", "piano-transcription-inference", "librosa", "numpy", "av", "mido")


def facts_of(
    context: BuildContext,
    rows: Sequence[Row] | StoredColumns,
    name: str = "",
    rejections: Mapping[str, int] = MappingProxyType({}),
    precisions: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, Any]:
    """The facts of a version as plain values that do not depend on the time. `rejections` counts "stage: reason".

    `precisions` counts files by the kind of number they were transcribed in.
    """
    config = context.config
    facts: dict[str, Any] = {
        "config": published(config),
        "code": code(),
        "models": _models(context),
        "prompts": _prompts(context),
        "exclusions": _exclusions(config),
        "subsets": Subsets(context.root).definitions(),
        "libraries": {library: version for library in LIBRARIES if (version := _version(library))},
        "counts": counts_of(rows) | {"rejections": dict(sorted(rejections.items())), "precisions": dict(precisions)},
    }
    return facts | ({"name": name} if name else {})


def published(config: BuildConfig) -> dict[str, Any]:
    """The configuration as it is published: without contact, cookies, proxy and server, and files by name only."""
    values = to_values(config)
    for private in ("contact", "cookies", "proxy", "base_url"):
        for settings in values.values():
            settings.pop(private, None)
    return _without_folders(values)


def _without_folders(value: Any) -> Any:
    """Cut absolute paths down to their last part."""
    if isinstance(value, dict):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(each) for each in value]
    if isinstance(value, str) and re.match(r"(list:|file:)?(/|~|[A-Za-z]:[\\/])", value):
        return re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return value


def _exclusions(config: BuildConfig) -> dict[str, Any]:
    """The exclusion lists that were used, by name: their sizes, and the sha256 of their composition ids."""
    lists = [find_exclusion(name) for name in config.release.exclude]
    return {
        one.name: {
            "num_compositions": len(one.composition_ids),
            "num_performances": len(one.performances),
            "sha256": hashlib.sha256("\n".join(one.composition_ids).encode()).hexdigest(),
        }
        for one in lists
    }


def code() -> dict[str, Any]:
    """The version of this package, and the commit it was installed from or is checked out at, where that is known."""
    facts: dict[str, Any] = {"version": _version("aria-data")}
    root = Path(__file__).parents[2]
    if (root / ".git").exists():
        commit = _git(root, "rev-parse", "HEAD")
        if commit:
            facts |= {"commit": commit, "is_changed": bool(_git(root, "status", "--porcelain", "-uno"))}
        return facts
    try:
        text = metadata.distribution("aria-data").read_text("direct_url.json") or "{}"
        commit = json.loads(text).get("vcs_info", {}).get("commit_id", "")
    except (metadata.PackageNotFoundError, ValueError):
        commit = ""
    return facts | ({"commit": commit} if commit else {})


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):  # no git here
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _models(context: BuildContext) -> dict[str, Any]:
    config = context.config
    models: dict[str, Any] = {
        "classifier": {"sha256": context.classifier_sha256},
        "transcriber": {"name": config.transcribe.transcriber, "sha256": context.transcriber_sha256},
    }
    if heads := backends.heads_sha256(config.transcribe):
        models["transcriber"]["heads_sha256"] = heads
    if config.measure.second() is not None:
        models["second_transcriber"] = {
            "name": config.measure.second_transcriber,
            "sha256": context.second_sha256,
        }
    if config.screen.scorer == "llm":
        models["screen"] = {"name": config.screen.model or config.llm.model}
    if config.annotate.annotator == "llm":
        models["annotate"] = {"name": config.annotate.model or config.llm.model}
    return models


def _prompts(context: BuildContext) -> dict[str, str]:
    """The prompts that were used: their names, each with the sha256 of its text."""
    from aria_data.annotate.model_tags import PROMPT as ANNOTATE_PROMPT
    from aria_data.llm.questions import load_prompt
    from aria_data.screen.screening import how_asked

    used = {"aria_data.screen": how_asked(context.llm.config)["prompt"]} if context.llm else {}
    used |= {"aria_data.annotate": ANNOTATE_PROMPT} if context.config.annotate.annotator == "llm" else {}
    return {name: hashlib.sha256(load_prompt(room, name).encode()).hexdigest() for room, name in used.items()}


# All columns that `counts_of` reads, besides subsets.
COUNTED = ("recording_id", "composition_id", "num_notes", "is_cluster_lead", "split", "removed_in")


def counts_of(rows: Sequence[Row] | pa.Table | StoredColumns) -> dict[str, Any]:
    """Numbers of files, notes, recordings and compositions, and of files by subset and split, without removed rows.

    A table has at least the columns `COUNTED`; those of subsets are counted if it has them.
    """
    table = rows if isinstance(rows, pa.Table | StoredColumns) else table_of(rows)
    present = table.filter(pc.is_null(table["removed_in"]))
    subsets = sorted(name for name in present.column_names if name.startswith("in_") and present.num_rows)
    compositions = present["composition_id"]
    compositions = compositions.filter(pc.not_equal(compositions, ""))
    splits = present["split"].value_counts().to_pylist()
    return {
        "num_files": present.num_rows,
        "num_notes": pc.sum(present["num_notes"]).as_py() or 0,
        "num_recordings": pc.count_distinct(present["recording_id"]).as_py(),
        "num_compositions": pc.count_distinct(compositions).as_py(),
        "num_copies": present.num_rows - (pc.sum(present["is_cluster_lead"]).as_py() or 0),
        "subsets": {name: pc.sum(present[name]).as_py() or 0 for name in subsets},
        "splits": {each["values"]: each["counts"] for each in sorted(splits, key=lambda each: each["values"])},
    }
