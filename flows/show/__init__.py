"""What a person sees: progress while work runs, tables when it has ended. The lowest room of `flows`.

In: summaries and rows. Out: progress on standard error, tables on standard output. Decides nothing.
"""

from flows.show.build_tables import closing_tables
from flows.show.plan_table import print_plan
from flows.show.progress_bars import Progress, duration, error, parts, progress

__all__ = ["Progress", "closing_tables", "duration", "error", "parts", "print_plan", "progress"]
