"""The process that `test_reader_process` asks: it says something before it is ready."""

from __future__ import annotations

import sys
import time

print("a warning of some library", flush=True)
print("ready", flush=True)
for line in sys.stdin:
    if line == "for ever\n":
        time.sleep(3600)
    if line == "end\n":
        sys.exit(3)
    print(f"answer to {line}", end="", flush=True)
