"""What works on files and lists without a dataset: transcribe, classify, titles, the classifier's clips, doctor.

In: files, folders, lists of titles. Out: files beside them, lines, tables.
"""
