"""One build: from the results of its stages to a released version, with what the dataset knew before.

In: a source, a configuration, the stage tables. Out: a version; tables of rejections, numbers and splits; a summary.
Rejects `removed` and `same_bytes`; the stages reject the rest.

`assemble` is a build while it runs, `stream` its stages, shard by shard. `numbering` gives segments their numbers.
`ending` is what needs all recordings at once, on relations on disk: `results` reads what the stages finished,
`copies` finds what is the same, `carried` keeps the rows of what could not be finished, `carried_copies` has them among
the copies; `finished` has the results of all steps together, without what a benchmark holds. `provenance` records what
a version was made from, `publish` releases it, `unchanged` tells a build that has nothing to do.
"""
