"""Accuracy of the steps on labelled data: `aria-data evaluate classifier | transcription | screen | annotate`.

In: labels, and recordings, MIDI files or titles. Out: tables, JSON and plots; no dataset is changed.
"""
