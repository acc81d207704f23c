"""What a build would do, before anybody pays for it: counted by looking up keys, estimated where results are missing.

In: a checked order. Out: a `Plan`: for each stage what is done, to do, expected and at most; time and money, each with
what it is based on. Writes nothing, loads no model of sound, asks nobody.

`replay` goes through a build with the results that are there, `forecast` adds what follows from those that are not,
`costs` makes time and money of it, `cluster` reads descriptions of other machines, `planning` puts it together.
"""

from flows.plan.planning import make_plan

__all__ = ["make_plan"]
