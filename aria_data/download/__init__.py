"""Fetch a candidate's audio within bounds, resume what was cut, and decode it to its end before it gets its name.

In: a screened `Candidate` whose audio is not on this machine. Out: a file and its `Download`.
Rejections: `too-long`, `licence`, `robots`, `opted-out`, `refused`. Failures: the other kinds of
`aria_data.web.failures`.
"""

from aria_data.download.fetch import DownloadConfig, download
from aria_data.download.partial_files import noted, settle

__all__ = ["DownloadConfig", "download", "noted", "settle"]
