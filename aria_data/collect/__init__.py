"""The first step: find candidates, possible recordings of solo piano of which only metadata are known.

In: a folder, a list, an address, or seeds of a crawl. Out: `Candidate`s, and leads to more of them.
Rejects nothing. Files whose names say that they are not audio are counted; leads that cannot be followed end as a
kind of `aria_data.web.failures`.

`folder` walks a folder, `crawl` follows leads (addresses and searches), `frontier` stores them in SQLite, `queries`
writes searches; `sources/` has one file a site.
"""

from aria_data.collect.crawl import Crawl, CrawlConfig, CrawlSummary
from aria_data.collect.folder import collect_folder
from aria_data.collect.frontier import Frontier

__all__ = ["Crawl", "CrawlConfig", "CrawlSummary", "Frontier", "collect_folder"]
