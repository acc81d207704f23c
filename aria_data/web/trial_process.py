"""The process of `trial_reading`: reads one text after another, without a network, and prints a line after each."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable

from aria_data.web.addresses import AddressConfig
from aria_data.web.failures import fetch_error
from aria_data.web.pacing import Pacer, PacingConfig
from aria_data.web.trial_reading import MAX_MEMORY_BYTES, parse_feed
from aria_data.web.ytdlp_handler import GuardedYoutubeDL, Known, RequestPolicy


def main() -> None:
    """Read the texts that come by the standard input, and print a line after each. Ends where memory does."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a reader prints is no answer
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    readers = {"page": _page_reader(), "feed": _read_feed}
    print("ready", file=answers, flush=True)
    for line in sys.stdin.buffer:
        kind, url, content = json.loads(line)
        try:
            readers[kind](url, content)
        except MemoryError:
            return
        except Exception:  # what it finds, or why it finds nothing, is known when the text is read in earnest
            pass
        print("read", file=answers, flush=True)


def _page_reader() -> Callable[[str, str], None]:
    policy = RequestPolicy(AddressConfig(), Pacer(PacingConfig()), _refuse)
    params = {"quiet": True, "no_warnings": True, "logger": _Silent(), "ignoreconfig": True, "cachedir": False}
    ydl = GuardedYoutubeDL(policy, params, is_trial=True)
    ydl.get_info_extractor("Generic")

    def read(url: str, content: str) -> None:
        policy.known = Known((url,), url, 200, {"content-type": "text/html; charset=utf-8"}, content.encode())
        ydl.extract_info(url, download=False, process=False, ie_key="Generic")

    return read


def _read_feed(url: str, content: str) -> None:
    parse_feed(content)


def _refuse() -> None:
    raise fetch_error("refused", "A page is tried without a network.")


class _Silent:
    def debug(self, message: str) -> None: ...
    def info(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...
    def error(self, message: str) -> None: ...


if __name__ == "__main__":
    main()
