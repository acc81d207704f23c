"""What is known of all candidates before the work begins, and what is kept of it while the work goes on.

In: the tables of earlier builds and crawls. Out: candidates in order, without those that passed unchanged.
Rejects nothing.

`latest` has each candidate as it was observed last. `passed` remembers what the last build found of each, so that an
unchanged one is skipped by one comparison. `same_files` says which of identical files is kept.
"""
