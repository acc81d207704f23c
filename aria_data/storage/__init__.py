"""The dataset folder: stage tables, files written whole or not at all, and the books of a build.

The only room that knows how tables lie on disk. `tables` loads pyarrow, so its names are imported from there.
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
