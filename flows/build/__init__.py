"""One build: from the results of its stages to a released version. What a dataset knew before is carried on here.

In: a source, a configuration, the stage tables. Out: a version, tables of rejections, numbers and splits, a `BuildSummary`.
Rejects `removed` and `same_bytes`; the stages reject the rest.

`assemble` is a build while it runs; `observations` are the candidates, `numbering` gives segments their numbers, `copies` and
`exclusions` find what is the same or kept out, `carried` keeps the rows of what could not be finished; `provenance` records
what a version was made from, `publish` releases it.
"""
