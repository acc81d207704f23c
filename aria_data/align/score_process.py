"""The process of `bounded_reading`: reads one score after another, and prints a line of JSON after each."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from aria_data.align.score_cache import packed
from aria_data.align.score_files import ScoreUnreadable, read_score, require_partitura


def main(max_memory_bytes: int) -> None:
    """Read the scores that come by the standard input as `path, score_id, texts, where to write what was read`."""
    require_partitura()
    resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a reader prints is no answer
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin.buffer:
        path, score_id, texts, out = json.loads(line)
        try:
            Path(out).write_bytes(packed(read_score(Path(path), score_id, texts)))
            said = ""
        except ScoreUnreadable as error:
            said = str(error)
        print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
