"""The demo: recordings made here from scores in the public domain, a build, its notes compared with the scores."""

from flows.demo.demo import run_demo

__all__ = ["run_demo"]
