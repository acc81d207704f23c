"""Who does the work of stages: this process, processes of this machine, or a Ray cluster. The results are the same.

In: items of a stage. Out: their outcomes, whoever finds them, in any order.
`local` is this machine, `on_ray` a cluster; `assignments` is what both send to workers, and the workers' side of it;
`away` is what a worker's death costs; `parcels` has files on machines that do not see the dataset's disk.
"""

from flows.engine.context import BuildContext, Executor, Here
from flows.engine.orders import Engine
from flows.executors import local
from flows.executors.local import Local
from flows.executors.on_ray import OnRay


def executor_of(context: BuildContext, engine: Engine) -> Executor:
    """The executor of a build. Nothing is started before there is work."""
    if engine.name == "ray":
        return OnRay(context, engine)
    return Local(context) if local.PLACED else Here()
