"""Accuracy of steps on labelled data: `aria-data evaluate classifier | transcription | screen | annotate | reviews`.

In: labels, and recordings, MIDI files or titles; or the reviews of a dataset. Out: tables, JSON and plots; no dataset
is changed.
"""
