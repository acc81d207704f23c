"""The dataset folder: stage tables, files written whole or not at all, and the balance of a build.

In: records and files to keep. Out: stage tables and files below the dataset folder, whole or not at all.

`files` writes and hashes files. `stage_tables` keeps what is done, in `delta_tables`, under `work_keys`; `compaction`
keeps their files few. `rows_of_records` turns records into rows. `relations` joins on disk what is of all
recordings. `balance` checks that every candidate is accounted for. Only this room knows how stage tables are stored.
All but `files` load pyarrow, so import their names from there.
"""

from aria_data.storage.files import (
    HELD,
    PARTIAL,
    as_on_disk,
    exclusive_lock,
    json_line,
    not_writable,
    printable,
    require_space,
    sha256_file,
    sha256_of_weights,
    write_whole,
    writing_whole,
)

__all__ = [
    "HELD",
    "PARTIAL",
    "as_on_disk",
    "exclusive_lock",
    "json_line",
    "not_writable",
    "printable",
    "require_space",
    "sha256_file",
    "sha256_of_weights",
    "write_whole",
    "writing_whole",
]
