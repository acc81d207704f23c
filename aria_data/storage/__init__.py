"""The dataset's place: stage tables, files written whole or not at all, and the balance of a build.

In: records and files to keep. Out: stage tables and files below the dataset's root, whole or not at all. The root is a
folder or a place in an object store; `open_root` gives either, and only this room knows the difference: `stores` has
paths in a store and its lock, `delta_stores` its tables, `local_copies` what has to be on this disk.

`files` writes and hashes files. `stage_tables` keeps what is done, in `delta_tables`, under `work_keys`; `compaction`
keeps their files few. `rows_of_records` turns records into rows. `relations` joins on disk what is of all
recordings. `balance` checks that every candidate is accounted for. Only this room knows how stage tables are stored.
Those that load pyarrow are imported by their own names.
"""

from aria_data.storage.files import (
    HELD,
    PARTIAL,
    as_on_disk,
    exclusive_lock,
    json_line,
    not_writable,
    printable,
    remove_folder,
    require_space,
    sha256_file,
    sha256_of_weights,
    write_whole,
    writing_whole,
)
from aria_data.storage.local_copies import local_audio, local_copy, local_folder
from aria_data.stores.object_paths import is_remote, open_root

__all__ = [
    "HELD",
    "PARTIAL",
    "as_on_disk",
    "exclusive_lock",
    "is_remote",
    "json_line",
    "local_audio",
    "local_copy",
    "local_folder",
    "not_writable",
    "open_root",
    "printable",
    "remove_folder",
    "require_space",
    "sha256_file",
    "sha256_of_weights",
    "write_whole",
    "writing_whole",
]
