"""Data files of the library, read with `importlib.resources`."""
