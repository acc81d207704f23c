"""What a dataset is like, for people: a report to look at, one segment in a terminal, and SQL over all tables.

In: a dataset folder. Out: `report.html` without any other file, lines for a terminal, tables. Nothing is changed.

`views` names the tables for SQL, `figures` is the list of what the report shows, each with its query, `changes`
compares with the version before, `charts` draws, `page` puts the report together (`report.html.j2`), `piano_roll` shows
one segment.
"""

from flows.report.page import write_report

__all__ = ["write_report"]
