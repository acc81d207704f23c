"""What runs stages: shards of work as Prefect tasks, Prefect's API, attempts to fetch, crawls.

In: items of a stage. Out: rows of stage tables.
`stages` defines each step and its work key, `sound_stages` the work of those that decode, `items` makes their items;
`shards` cuts candidates into shards, `running` looks up what is done and works on the rest, `tasks` does so as a task
of Prefect's; `context` holds models and paths; `orders` checks what is asked for,
`prefect_api` starts and stops Prefect's server, `record` tells it of a build.
"""

from flows.engine.orders import BuildOrder, order_build
from flows.engine.prefect_api import quiet_prefect

__all__ = ["BuildOrder", "order_build", "quiet_prefect"]
