"""The demo: recordings synthesised from public-domain scores, a build, and its notes compared with the scores.

In: `manifests/demo/scores`. Out: a folder of recordings, a dataset, tables on standard output.
"""

from flows.demo.demo import run_demo

__all__ = ["run_demo"]
