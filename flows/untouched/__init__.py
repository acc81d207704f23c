"""What a build's end leaves as it is: rows of the newest version that nothing new touches.

In: the newest version, what the last build found (`candidates.passed`), the results of what is new. Out: the relations
`affected` of candidates whose rows are decided anew, `untouched` of rows that stay. All that is decided of a row is
decided within its group, of rows that share a split: what is one recording, which copy is chosen, how many recordings
of a composition are kept. So a group without anything new stays as it is. Rejects nothing.
"""
