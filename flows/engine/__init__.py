"""What runs a build: stages, shards of work as Prefect tasks, Prefect's API, provenance. Recipes are built on it.

In: a `BuildOrder`. Out: rows of stage tables, a released version, a `BuildSummary`.
`stages` defines each step and its work key, `items` makes the items of each step, `tasks` works on shards of them,
`context` holds models and paths, `build` runs the stages and releases the version.
"""

from flows.engine.orders import BuildOrder, order_build
from flows.engine.prefect_api import quiet_prefect

__all__ = ["BuildOrder", "order_build", "quiet_prefect"]
