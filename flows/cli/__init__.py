"""The `aria-data` command: one file a group of commands, by the step that they belong to. Thin.

In: words on a command line. Out: calls of recipes and of the library, tables, exit codes (0 done, 1 done with failures
recorded, 2 wrong usage). Heavy imports wait inside the command that needs them.
"""

from flows.cli.command import main

__all__ = ["main"]
