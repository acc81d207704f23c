"""Put on PYTHONPATH of a Prefect worker: its runs build with the stand-ins of `fakes`, each piece of work taking long
where SLOW is set. Enough for a worker, which does not care what a model says."""

import os
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))


class _Setter:
    setattr = staticmethod(setattr)


class BeforeTheRecipes(MetaPathFinder):
    """Sets the stand-ins when a run is about to import the flows of the deployments."""

    def find_spec(self, name, path=None, target=None):
        if name == "flows.deployments.recipes":
            sys.meta_path.remove(self)
            import build_child
            import fakes

            fakes.use_fakes(_Setter)
            if os.environ.get("MARKS"):
                import ray_nodes

                ray_nodes.use_workers_of_tests(build_child._Setter, os.environ["MARKS"])
            if os.environ.get("SLOW"):
                build_child.take_long()


sys.meta_path.insert(0, BeforeTheRecipes())
