"""The tables of a dataset under names for SQL, in a database that can only read them.

manifest     one row a MIDI file of one version, tombstones of removed ones too
present      the same without the removed ones
before       the rows of the version before that one, without the removed ones; empty for the first version
rejections   what the last build rejected or failed on
candidates   what was found, as last seen: the fields of `Candidate`
recordings   what was decoded: the fields of `Recording`, one row a recording
annotations  what titles say of the piece: the fields of `Annotation`
reviews      what people said of segments: the fields of `Review`
screenings   how titles were judged: the fields of `Screening`
measures     numbers of each transcription: segment_id, and a map from the name of a measure to its number
builds       how the last builds ended, on which machine and with which code, and what they took: `perf.json`
build_stages the same by stage: items, seconds of audio, of work, x real time, failures
alignments   along which score each segment of that version goes, if it was aligned: the fields of `SegmentAlignment`
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from aria_data.errors import DatasetNotFound, UsageError
from aria_data.manifest import Manifest
from aria_data.manifest.columns import DIGEST
from aria_data.records import (
    Annotation,
    Candidate,
    Measurement,
    Recording,
    Rejection,
    Review,
    Screening,
    SegmentAlignment,
    Segmentation,
)
from aria_data.storage import printable
from aria_data.storage.delta_tables import data_files, open_delta
from aria_data.storage.rows_of_records import arrow_type
from flows.speed.perf_file import read_builds
from flows.speed.perf_tables import builds_table, stages_table

MEMORY = "1500MB"  # of DuckDB: with the rest of the process, 2 GB
MAX_ERROR_CHARS = 400

_VIEWS: dict[str, tuple[str, type, str]] = {  # name -> (table, record, its own SQL over the registered table `source`)
    "annotations": ("annotate", Annotation, "QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY key) = 1"),
    "candidates": ("collect", Candidate, "QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY {newest}) = 1"),
    "recordings": ("ingest", Recording, "QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY key) = 1"),
    "reviews": ("reviews", Review, ""),
    "screenings": ("screen", Screening, "QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY key) = 1"),
}
_NEWEST = "record.observation DESC, record.collected_at DESC"


@contextmanager
def open_views(root: Path, version: int | str | None = None, memory: str = MEMORY) -> Iterator[Any]:
    """Open an in-memory DuckDB connection with the views of a dataset's version (by default the newest), locked.

    It reads nothing but these tables, not even files. Raises `DatasetNotFound` where there is no built dataset.
    """
    import duckdb

    manifest = Manifest(root)
    if not manifest.version():
        raise DatasetNotFound(f"{root}: holds no built dataset. Run `aria-data build SOURCE --out {root}` first.")
    settings: dict[str, Any] = {"enable_external_access": "false", "memory_limit": memory, "threads": "2"}
    connection = duckdb.connect(":memory:", config={**settings, "python_enable_replacements": "false"})
    with connection:
        connection.register("manifest", manifest.files(version))
        connection.execute("CREATE VIEW present AS SELECT * FROM manifest WHERE removed_in IS NULL")
        connection.register("manifest_before", _files_before(manifest, version))
        connection.execute("CREATE VIEW before AS SELECT * FROM manifest_before WHERE removed_in IS NULL")
        connection.register("rejections", _files(root, "rejections", _schema_of(Rejection)))
        for name, (table, record_type, chosen) in _VIEWS.items():
            connection.register(f"table_{table}", _files(root, table, _outcomes_of(record_type)))
            sql = f"SELECT unnest(record) FROM table_{table} WHERE record IS NOT NULL {chosen.format(newest=_NEWEST)}"
            connection.execute(f"CREATE VIEW {name} AS {sql}")
        connection.register("table_measure", _files(root, "measure", _outcomes_of(Measurement)))
        connection.execute(_MEASURES)
        builds = read_builds(root)
        connection.register("builds", builds_table(builds))
        connection.register("build_stages", stages_table(builds))
        connection.register("table_alignments", _files(root, "alignments", _schema_of(SegmentAlignment)))
        connection.execute(_ALIGNMENTS)
        connection.register("table_segment", _files(root, "segment", _outcomes_of(Segmentation)))
        connection.execute("SET lock_configuration = true")
        yield connection


# A segment transcribed twice has two measurements: the one with the manifest's number of notes is meant.
_MEASURES = """CREATE VIEW measures AS SELECT segment_id, any_value(record.measures) AS measures FROM table_measure
JOIN present ON present.segment_id = item_id AND present.num_notes = record.measures['num_notes']
WHERE record IS NOT NULL GROUP BY segment_id"""

# Of other notes than this version's, and of removed segments, nothing is said.
_ALIGNMENTS = """CREATE VIEW alignments AS SELECT table_alignments.* FROM table_alignments
SEMI JOIN present ON present.segment_id = table_alignments.segment_id
AND present.midi_sha256 = table_alignments.midi_sha256"""


def _files_before(manifest: Manifest, version: int | str | None) -> pads.Dataset:
    number = manifest.number_of(version)
    if number > 1:
        return manifest.files(number - 1)
    return pads.dataset(manifest.schema(version).empty_table())


# The rows that differ from the version before: segment_id, kind (added, removed, changed). Of a million, a second.
CHANGED = f"""SELECT segment_id, CASE WHEN old.is_there IS NULL THEN 'added' WHEN new.is_there IS NULL THEN 'removed'
    ELSE 'changed' END AS kind
FROM (SELECT segment_id, {DIGEST} AS digest, true AS is_there FROM present) new
FULL JOIN (SELECT segment_id, {DIGEST} AS digest, true AS is_there FROM before) old USING (segment_id)
WHERE old.is_there IS NULL OR new.is_there IS NULL OR new.digest IS DISTINCT FROM old.digest"""


def select(connection: Any, sql: str) -> pa.Table:
    """Give the result of one SELECT statement. Raises `UsageError` in one line for any other text."""
    import duckdb

    try:
        statements = connection.extract_statements(sql)
        reads = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
        if len(statements) != 1 or statements[0].type not in reads:
            raise UsageError("the query must be one SELECT statement, for example: SELECT count(*) FROM present")
        return connection.sql(sql).to_arrow_table()
    except (duckdb.Error, UnicodeError) as error:
        line = (str(error)[:MAX_ERROR_CHARS].splitlines() or [""])[0]
        raise UsageError(f"the query cannot be understood: {printable(line, MAX_ERROR_CHARS)}") from error


def _schema_of(record_type: type) -> pa.Schema:
    struct = arrow_type(record_type)
    return pa.schema([struct.field(index) for index in range(struct.num_fields)])


def _outcomes_of(record_type: type) -> pa.Schema:
    return pa.schema([("item_id", pa.string()), ("key", pa.string()), ("record", arrow_type(record_type))])


def _files(root: Path, table: str, schema: pa.Schema) -> pads.Dataset:
    """The files of a stage table; an empty table where there is none. Columns younger than a table are null."""
    path = root / "tables" / table
    opened = open_delta(path)
    if opened is None:
        return pads.dataset(schema.empty_table())
    return data_files(path, opened).replace_schema(schema)
