"""What a person sees of the work: progress while it runs, tables when it has ended. The lowest room of `flows`.

In: summaries and rows. Out: lines on standard error while work goes on, tables on standard output. Decides nothing.
"""

from flows.show.build_tables import Progress, closing_tables, duration, error, parts, plan_table, progress

__all__ = ["Progress", "closing_tables", "duration", "error", "parts", "plan_table", "progress"]
