"""Find candidates: what might be a recording of solo piano, known by its metadata only. The first step.

In: a folder, a list, an address, or seeds of a crawl. Out: `Candidate`s, and leads to more of them.
Rejects nothing. Files whose names say that they are not audio are counted; leads that cannot be followed end as a
kind of `aria_data.web.failures`.

`folder` walks a folder, `crawl` follows leads, `frontier` remembers them in SQLite, `queries` writes searches;
`sources/` has one file a site.
"""

from aria_data.collect.crawl import Crawl, CrawlConfig, CrawlSummary
from aria_data.collect.folder import collect_folder
from aria_data.collect.frontier import Frontier

__all__ = ["Crawl", "CrawlConfig", "CrawlSummary", "Frontier", "collect_folder"]
