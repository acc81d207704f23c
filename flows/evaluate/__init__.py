"""How good the parts are on labelled data: `aria-data evaluate classifier | transcription | screen | annotate`.

In: labels and what was found. Out: tables and plots; nothing is changed.
"""
