"""The dataset folder: stage tables, files written whole or not at all, and the balance of a build.

`files` writes and hashes files, `tables` keeps what is done in Delta tables, `ledger` checks that every candidate is
accounted for. Only this room knows how stage tables are stored. `tables` loads pyarrow, so import its names from there.
"""

from aria_data.storage.files import (
    HELD,
    PARTIAL,
    exclusive_lock,
    not_writable,
    printable,
    require_space,
    sha256_file,
    write_whole,
)

__all__ = [
    "HELD",
    "PARTIAL",
    "exclusive_lock",
    "not_writable",
    "printable",
    "require_space",
    "sha256_file",
    "write_whole",
]
