"""The process of `bounded_reading`: reads one score after another, and prints a line of JSON after each.

The line has why the score cannot be read, "" where it was, and whether that is the file's fault.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from aria_data.align.score_cache import packed
from aria_data.align.score_files import ScoreNotReached, ScoreUnreadable, read_score, require_partitura
from aria_data.storage import printable


def main(max_memory_bytes: int) -> None:
    """Read the scores that come by the standard input as `path, score_id, texts, where to write what was read`."""
    require_partitura()
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a reader prints is no answer
    print("ready", file=answers, flush=True)
    resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))
    for line in sys.stdin.buffer:
        path, score_id, texts, out = json.loads(line)
        said, is_its_fault = "", True
        try:
            content = packed(read_score(Path(path), score_id, texts))
            Path(out).write_bytes(content)
        except ScoreUnreadable as error:
            said, is_its_fault = str(error), not isinstance(error, ScoreNotReached)
        except OSError as error:
            said, is_its_fault = f"{printable(path, 1000)}: what was read cannot be written ({error}).", False
        print(json.dumps([said, is_its_fault]), file=answers, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
