"""The builds of `perf.json` as two tables, for SQL: `builds`, one row a build, and `build_stages`, one row a stage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from flows.speed.rates import num_workers_of

BUILDS = pa.schema(
    [
        ("began_at", pa.string()),
        ("command", pa.string()),
        ("state", pa.string()),
        ("is_finished", pa.bool_()),
        ("wall_s", pa.float64()),
        ("dollars", pa.float64()),  # for language models
        ("code_version", pa.string()),
        ("code_commit", pa.string()),
        ("processor", pa.string()),
        ("cores", pa.int64()),
        ("memory_gb", pa.int64()),
        ("gpus", pa.string()),
        ("transcriber", pa.string()),
        ("run_id", pa.string()),
    ]
)
STAGES = pa.schema(
    [
        ("began_at", pa.string()),
        ("stage", pa.string()),
        ("num_done_before", pa.int64()),
        ("num_items", pa.int64()),
        ("num_rejected", pa.int64()),
        ("num_failed", pa.int64()),
        ("num_not_done", pa.int64()),
        ("audio_s", pa.float64()),
        ("working_s", pa.float64()),
        ("x_real_time", pa.float64()),
        ("working_share", pa.float64()),
        ("num_workers", pa.int64()),
        ("num_bytes", pa.int64()),
        ("run_id", pa.string()),
    ]
)


def builds_table(builds: Sequence[Mapping[str, Any]]) -> pa.Table:
    """One row a build, oldest first. What somebody wrote into the file that is none is left out."""
    return _table((partial(_build, one) for one in builds), BUILDS)


def stages_table(builds: Sequence[Mapping[str, Any]]) -> pa.Table:
    """One row a stage of a build, in the order in which they began."""
    return _table((partial(_stage, one, stage) for one in builds for stage in one["stages"]), STAGES)


def _table(makers: Iterable[Callable[[], dict[str, Any]]], schema: pa.Schema) -> pa.Table:
    made = []
    for make in makers:
        try:
            made.append(pa.Table.from_pylist([make()], schema=schema))
        except (TypeError, ValueError, AttributeError, LookupError, pa.ArrowException):
            continue
    return pa.concat_tables(made) if made else schema.empty_table()


def _build(one: Mapping[str, Any]) -> dict[str, Any]:
    code, machine, settings = (one.get(name) or {} for name in ("code", "machine", "settings"))
    return {
        **{name: one.get(name) for name in ("run_id", "began_at", "command", "state", "is_finished", "wall_s")},
        "dollars": float(sum(each["dollars"] for each in one.get("money", ()))),
        "code_version": code.get("version"),
        "code_commit": code.get("commit"),
        **{name: machine.get(name) for name in ("processor", "cores", "memory_gb")},
        "gpus": ", ".join(machine.get("gpus") or ()),
        "transcriber": settings.get("transcriber"),
    }


def _stage(one: Mapping[str, Any], stage: Mapping[str, Any]) -> dict[str, Any]:
    counted = {f"num_{kind}": sum(stage.get(kind, {}).values()) for kind in ("rejected", "failed", "not_done")}
    return {
        **{name: stage.get(name) for name in STAGES.names},
        **{name: one.get(name) for name in ("run_id", "began_at")},
        **counted,
        "num_workers": num_workers_of(stage),
    }
