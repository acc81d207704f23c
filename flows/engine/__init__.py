"""What runs a build: stages, shards of work as Prefect tasks, Prefect's API, provenance. Recipes are built on it.

In: a `BuildOrder`. Out: rows of stage tables, a released version, a `BuildSummary`.
`stages` says what each step works on and what decides its result, `items` what it is given, `tasks` how a shard is
worked on, `context` what the work needs, `build` how it all ends up in a version.
"""

from flows.engine.orders import BuildOrder, order_build
from flows.engine.prefect_api import quiet_prefect

__all__ = ["BuildOrder", "order_build", "quiet_prefect"]
