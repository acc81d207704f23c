"""Recordings to piano MIDI datasets: the library. It knows audio, notes and tables; no Prefect and no classifier."""

__version__ = "0.1.0"
