"""Work on files and lists without a dataset: transcribe, classify, screen or annotate titles, choose clips, train heads
of transkun, doctor.

In: files, folders, lists of titles. Out: MIDI files, JSON lines, tables.
"""
