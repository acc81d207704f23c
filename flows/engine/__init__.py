"""What runs stages: shards of work as Prefect tasks, Prefect's API, attempts to fetch, crawls.

In: items of a stage. Out: rows of stage tables.
`stages` defines each step and its work key, `items` makes the items of each step; `shards` cuts candidates into shards,
`lanes` passes them through threads, `running` looks up what is done and works on the rest, `tasks` does so as a task of
Prefect's; `workers` are processes for what may crash; `context` holds models and paths; `orders` checks what is asked
for, `prefect_api` starts and stops Prefect's server.
"""

from flows.engine.orders import BuildOrder, order_build
from flows.engine.prefect_api import quiet_prefect

__all__ = ["BuildOrder", "order_build", "quiet_prefect"]
