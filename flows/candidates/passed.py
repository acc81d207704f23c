"""What the last build found of each candidate: one that is unchanged since then is skipped by one comparison.

DATASET/index/passed/about.json   what all of it depended on: settings, code, weights, tables, removals; which parts;
                                  what the build's end depended on, and the version that has its rows
DATASET/index/passed/<number>/    a part a build: `candidates`, each with a digest of how it was observed, `keys` and
                                  `rejections` of the stages, `files` that have to be there, segments `outside` subsets,
                                  `precisions` of transcriptions
A later part goes before an earlier one; a candidate without a digest was not finished. It is a cache: what does not fit
or is damaged is looked up again. Of a dataset in a store it is on this disk, below the user's cache folder.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from aria_data.audio.integrity import READER
from aria_data.errors import AriaDataError
from aria_data.release import Removal
from aria_data.segment.identity import NUMBERS
from aria_data.storage import local_folder
from aria_data.storage.key_index import KeyIndex, words_of
from aria_data.storage.relations import Relations
from aria_data.storage.spilled import Spilled
from aria_data.storage.work_keys import key_start
from flows.candidates.latest import FIELDS, Candidates
from flows.candidates.parts import Parts, faults
from flows.candidates.same_files import File, SameFiles
from flows.candidates.table_states import file_names, is_continued, state_of_commit, state_of_table
from flows.engine.context import BuildContext, Stage

MOST_PARTS = 8  # then they are written as one
FILES = pa.schema([("candidate_id", pa.string()), ("path", pa.string())])
_DIGEST = f"hash({', '.join(f.name for f in FIELDS)})"  # of 64 bits


OUTSIDE = "place, failing, segment_id"  # place of the subset, number of the measure, or of the reason
_PARTS = ("candidates", "keys", "rejections", "files", "outside", "precisions")
_OF_THE_END = (NUMBERS, "rejections", "splits")  # tables that a build's end reads and writes
SKIPPED, NOBODY = "skipped", "nobody"  # relations of candidates
_EMPTY = """CREATE OR REPLACE TABLE {} (candidate_id VARCHAR, digest UBIGINT, recording_id VARCHAR,
    audio_sha256 VARCHAR, samples_sha256 VARCHAR, location VARCHAR, source_url VARCHAR, is_copy BOOLEAN,
    part INTEGER)"""


class Passed:
    """The candidates that the last build finished, beside those of today. `code` names the state of this package."""

    def __init__(self, relations: Relations, context: BuildContext, stages: Sequence[Stage], code: str):
        self._relations, self._root, self._stages = relations, context.root, stages
        self._parts = Parts(local_folder(context.root) / "index" / "passed")
        self._state = {
            "stages": {
                one.name: [one.is_wanted(context), key_start(one.name, one.version, one.settings(context))]
                for one in stages
            },
            "code": f"{code} {READER}",
        }
        self._is_noted = False  # what the parts say needs no change
        self._end: dict[str, Any] = {}  # of the build that wrote the newest part
        self._tables_before = {name: state_of_table(self._root, name) for name in _OF_THE_END}
        for which in (NOBODY, SKIPPED):
            relations.run(_EMPTY.format(which))

    def skip(self, candidates: Candidates, removals: Mapping[str, Removal], left_out: Collection[str]) -> Candidates:
        """Skip who is unchanged, whose files are there, and who is not in `left_out`. Gives the others."""
        relations = self._relations
        relations.put_file("digests", candidates.path, f"candidate_id, {_DIGEST} AS digest")
        about = self._about()
        if about is None:
            self._parts.discard()
            return candidates
        try:
            return self._unchanged_left_out(candidates, about, removals, left_out)
        except faults():  # as of a disk that is full: whatever it is, all candidates can be looked at
            self._parts.discard()
            self._is_noted, self._end = False, {}
            relations.run(_EMPTY.format(SKIPPED))
            return candidates

    def _unchanged_left_out(
        self,
        candidates: Candidates,
        about: Mapping[str, Any],
        removals: Mapping[str, Removal],
        left_out: Collection[str],
    ) -> Candidates:
        relations = self._relations
        changed = {name for name, _ in set(about["removals"].items()) ^ set(_reasons(removals).items())}
        self._is_noted, self._end = not changed, dict(about["end"])
        relations.run(f"CREATE OR REPLACE TABLE passed AS {self._latest()}")
        self._put_unfit({*changed, *(name.rpartition("_")[0] for name in changed)}, left_out)
        relations.run("""CREATE OR REPLACE TABLE skipped AS SELECT passed.* FROM passed JOIN digests
            USING (candidate_id, digest) ANTI JOIN unfit USING (candidate_id)""")
        relations.run("""CREATE OR REPLACE TABLE shared AS SELECT audio_sha256 FROM passed
            WHERE audio_sha256 IS NOT NULL GROUP BY audio_sha256 HAVING count(*) > 1""")
        relations.run("""DELETE FROM skipped WHERE audio_sha256 IN (SELECT audio_sha256 FROM passed
            SEMI JOIN shared USING (audio_sha256) ANTI JOIN skipped USING (candidate_id))""")
        others = f"(SELECT * FROM {relations.read(candidates.path)} ANTI JOIN skipped USING (candidate_id))"
        return Candidates.write(relations, "changed", others)

    @property
    def num_skipped(self) -> int:
        """How many candidates are skipped."""
        return int(self._relations.value("SELECT count(*) FROM skipped"))

    def counts(self, which: str = "skipped") -> dict[str, int]:
        """How many items of each stage are done, or rejected by it, of the candidates that are skipped."""
        if not self._parts.numbers:
            return {}
        counted = f"""SELECT stage, count(*) FROM (SELECT candidate_id, part, stage FROM {self._all("keys")}
                UNION ALL SELECT candidate_id, part, stage FROM {self._all("rejections")})
            SEMI JOIN {which} USING (candidate_id, part) GROUP BY stage"""
        with self._parts.reading():
            return dict(self._relations.rows(counted))

    def put_files(self, same_files: SameFiles) -> None:
        """Tell of the files of the candidates that are skipped."""
        if not self._parts.numbers:
            return
        columns = "candidate_id, location, source_url"
        shared = f"""SELECT audio_sha256, {columns} FROM skipped SEMI JOIN shared USING (audio_sha256)
            ORDER BY is_copy, source_url, candidate_id"""
        for sha256, *file in self._relations.rows(shared):
            same_files.representative(sha256, File(*file))
        self._relations.run(f"""CREATE OR REPLACE TABLE alone AS SELECT row_number() OVER () AS place, audio_sha256,
            {columns} FROM skipped ANTI JOIN shared USING (audio_sha256) WHERE audio_sha256 IS NOT NULL""")
        keys = self._relations.table("SELECT substr(audio_sha256, 1, 32) AS key, place FROM alone")
        if keys.num_rows:
            same_files.know(KeyIndex(words_of(keys["key"]), keys["place"].to_numpy()), self._file_at)

    def _file_at(self, place: int) -> File:
        found = self._relations.batches(f"SELECT candidate_id, location, source_url FROM alone WHERE place = {place}")
        return File(*(column[0].as_py() for column in next(iter(found)).columns))

    def forget(self, candidate_ids: Collection[str]) -> dict[str, int]:
        """Some candidates are looked at after all. Gives how many items of each stage were counted for them."""
        self._relations.put_values("again", {"candidate_id": candidate_ids}, {"candidate_id": pa.string()})
        counted = self.counts("(SELECT * FROM skipped SEMI JOIN again USING (candidate_id))")
        self._relations.run("DELETE FROM skipped WHERE candidate_id IN (SELECT candidate_id FROM again)")
        return counted

    def discard(self) -> None:
        """Forget what the last builds found."""
        self._parts.discard()

    def is_end_of(self, version: int, end: Mapping[str, Any]) -> bool:
        """Whether the last build's end depended on the same as this one's, `end`, and its rows are the newest.

        Then the tables that it wrote are as it left them, too.
        """
        as_then = {"end": dict(end), "version": self._state_of(version), "tables": self._tables_before}
        return version > 0 and self._end == json.loads(json.dumps(as_then))

    def _state_of(self, version: int) -> list[int | str]:
        return [version, *state_of_commit(self._root / "manifest" / "_delta_log", version)]

    def put_keys(self, keys: Mapping[str, Spilled], which: str = SKIPPED) -> None:
        """Make the relations `keys_of_<stage>`: those that this build found, and those of skipped candidates.

        `which` is a relation of the skipped candidates that count, as `skipped` is of all of them.
        """
        for stage in self._stages:
            name, found = f"keys_of_{stage.name}", keys.get(stage.name)
            schema = pa.schema([(each, pa.string()) for each in ("item_id", "candidate_id", "key")])
            self._relations.put(name, schema.empty_table() if found is None else found.reader())
            if self._parts.numbers:
                with self._parts.reading():
                    self._relations.run(f"""INSERT INTO {name} BY NAME SELECT item_id, candidate_id, key
                        FROM {self._all("keys")} SEMI JOIN {which} USING (candidate_id, part)
                        WHERE stage = '{stage.name}'""")

    def put_skipped_keys(self, name: str, stage: str) -> None:
        """Make a relation of the keys of a stage for all candidates that are skipped: item_id, key."""
        self._relations.run(f"CREATE OR REPLACE TABLE {name} (item_id VARCHAR, key VARCHAR)")
        if self._parts.numbers:
            with self._parts.reading():
                self._relations.run(f"""INSERT INTO {name} SELECT item_id, key FROM {self._all("keys")}
                    SEMI JOIN skipped USING (candidate_id, part) WHERE stage = '{stage}'""")

    def put_kept(self) -> None:
        """What is known of the skipped candidates that are not in the relation `affected`.

        Makes the relations `kept_outside` of segments outside subsets' limits (`OUTSIDE`), and `kept_precisions` of
        the kind of number that each of `kept_rows` was transcribed in.
        """
        of_kept = "SEMI JOIN skipped USING (candidate_id, part) ANTI JOIN affected USING (candidate_id)"
        with self._parts.reading():
            self._relations.run(
                f"CREATE OR REPLACE TABLE kept_outside AS SELECT {OUTSIDE} FROM {self._all('outside')} {of_kept}"
            )
            self._relations.run(f"""CREATE OR REPLACE TABLE kept_precisions AS SELECT precision
                FROM {self._all("precisions")} {of_kept} WHERE segment_id IN (SELECT segment_id FROM kept_rows)""")

    def put_rejections(self, found: Spilled) -> None:
        """Make the relation `rejections` in the same way."""
        self._relations.put("rejections", found.reader())
        if self._parts.numbers:
            with self._parts.reading():
                self._relations.run(f"""INSERT INTO rejections BY NAME SELECT * EXCLUDE (part)
                    FROM {self._all("rejections")} SEMI JOIN skipped USING (candidate_id, part)""")

    def note(
        self,
        unsettled: Collection[str],
        files: Spilled,
        removals: Mapping[str, Removal],
        end: Mapping[str, Any],
        version: int,
    ) -> None:
        """Note what this build found, from the relations of `flows.build.results`, and what its end depended on.

        `unsettled` are candidates whose next look may find something else. A note that cannot be written is no fault.
        """
        relations, num_parts = self._relations, len(self._parts.numbers)
        is_same_end = self._end.get("end") == dict(end)
        is_whole = not num_parts or num_parts >= MOST_PARTS or not is_same_end or self._has_vanished()
        is_all_known = self.num_skipped == relations.value("SELECT count(*) FROM digests")
        written = {name: state_of_table(self._root, name) for name in _OF_THE_END}
        is_as_before = written == self._tables_before and self.is_end_of(version, end)
        if self._is_noted and not is_whole and is_all_known and is_as_before:
            return
        before = _PARTS if is_same_end else [name for name in _PARTS if name != "outside"]

        def about() -> dict[str, Any]:
            tables = {name: state_of_table(self._root, name) for name in self._tables()}
            noted = {"end": dict(end), "version": self._state_of(version), "tables": written}
            return self._state | {"tables": tables, "removals": _reasons(removals), "end": noted}

        def write(folder: Path) -> None:
            relations.put_values("unsettled", {"candidate_id": unsettled}, {"candidate_id": pa.string()})
            relations.put("files", files.reader())
            for name in _PARTS:
                relations.write_to(self._rows_of_part(name, is_whole, name in before), folder / f"{name}.parquet")

        expected: tuple[type[Exception], ...] = (AriaDataError, *faults())
        try:
            self._parts.write(write, about, is_whole)
        except expected:
            self._parts.discard()

    def _has_vanished(self) -> bool:
        """Whether earlier parts have a candidate that is none any more: it must not be skipped if it comes back."""
        gone = "SELECT count(*) FROM passed ANTI JOIN digests USING (candidate_id)"
        return self._relations.has("passed") and bool(self._relations.value(gone))

    def _rows_of_part(self, name: str, is_whole: bool, are_kept: bool) -> str:
        """What a new part says: of all candidates, or of those that were not skipped.

        What earlier parts say of skipped ones is kept, where it holds still.
        """
        rows = f"SELECT * FROM ({self._rows_found(name)})"
        if not self._parts.numbers or (is_whole and not are_kept):
            return rows
        rows += " ANTI JOIN skipped USING (candidate_id)"
        if not is_whole:
            return rows
        return f"""{rows} UNION ALL BY NAME SELECT * EXCLUDE (part) FROM {self._all(name)}
            SEMI JOIN skipped USING (candidate_id, part)"""

    def _rows_found(self, name: str) -> str:
        """The rows of a part, of all candidates whose results were read."""
        steps = ", ".join(f"'{stage.name}'" for stage in self._stages)
        of_stages = [
            f"SELECT '{stage.name}' AS stage, item_id, candidate_id, key FROM keys_of_{stage.name}"
            for stage in self._stages
        ]
        tables = {
            "candidates": """SELECT c.candidate_id, if(u.candidate_id IS NULL, digest, NULL) AS digest, i.recording_id,
                    i.audio_sha256, i.samples_sha256, i.location, c.source_url,
                    c.candidate_id IN (SELECT candidate_id FROM rejections WHERE stage = 'deduplicate') AS is_copy
                FROM candidates c JOIN digests d USING (candidate_id) LEFT JOIN ingested i USING (candidate_id)
                LEFT JOIN unsettled u USING (candidate_id)""",
            "keys": " UNION ALL ".join(of_stages),
            "rejections": f"""SELECT * FROM rejections WHERE stage IN ({steps})
                OR (stage IN ('remove', 'deduplicate') AND item_id = candidate_id)""",
            "files": "SELECT * FROM files",
            "precisions": """SELECT candidate_id, segment_id, precision
                FROM transcriptions JOIN keys_of_transcribe ON item_id = segment_id WHERE precision <> ''""",
            "outside": f"""SELECT candidate_id, {OUTSIDE} FROM outside_limits JOIN segments USING (segment_id)
                JOIN recordings USING (recording_id)""",
        }
        return tables[name]

    def _put_unfit(self, names: Collection[str], left_out: Collection[str]) -> None:
        """The relation `unfit` of candidates that are not skipped whatever their digests say."""
        relations = self._relations
        relations.put_values("names", {"name": names}, {"name": pa.string()})
        relations.put_values("unfit", {"candidate_id": left_out}, {"candidate_id": pa.string()})
        if names:
            is_named = " OR ".join(
                f"{name} IN (SELECT name FROM names)" for name in ("candidate_id", "recording_id", "source_url")
            )
            relations.run(f"INSERT INTO unfit SELECT candidate_id FROM passed WHERE {is_named}")
        relations.put_batches("there", pa.schema([("path", pa.string())]), file_names(self._root))
        relations.run(f"INSERT INTO unfit SELECT candidate_id FROM {self._all('files')} ANTI JOIN there USING (path)")

    def _about(self) -> dict[str, Any] | None:
        """What the parts depended on; None where something of it is not as it was."""
        about = self._parts.read()
        with suppress(KeyError, TypeError, ValueError, AttributeError):
            if about is not None and isinstance(about["removals"], dict) and isinstance(about["end"], dict):
                same = all(about[name] == value for name, value in json.loads(json.dumps(self._state)).items())
                continued = all(is_continued(self._root, name, about["tables"][name]) for name in self._tables())
                return about if same and continued else None
        return None

    def _tables(self) -> Iterator[str]:
        yield from (*(stage.name for stage in self._stages), NUMBERS)

    def _latest(self) -> str:
        """The candidates of all parts, each as the latest part has it, as SQL."""
        parts = {part: self._relations.read(self._parts.file(part, "candidates")) for part in self._parts.numbers}
        found = []
        for part, rows in parts.items():
            later = [other for number, other in parts.items() if number > part]
            without = " ".join(f"ANTI JOIN (FROM {other}) USING (candidate_id)" for other in later)
            found.append(f"SELECT *, {part} AS part FROM {rows} {without}")
        return " UNION ALL ".join(found)

    def _all(self, name: str) -> str:
        """The rows of all parts, as SQL."""
        parts = (
            f"SELECT *, {part} AS part FROM {self._relations.read(self._parts.file(part, name))}"
            for part in self._parts.numbers
        )
        return f"({' UNION ALL '.join(parts)})"


def _reasons(removals: Mapping[str, Removal]) -> dict[str, str]:
    return {name: removal.reason for name, removal in removals.items()}
