"""Places in an object store as paths: what `pathlib` gives for a disk, and a lock that a dead holder loses.

In: an address such as s3://bucket/dataset. Out: an `ObjectPath`, errors that say what to do. No datasets here.
`object_paths` are the paths, `store_clients` who asks the stores, `small_puts` who puts small objects, `store_errors`
what their errors mean, `lease` the lock. Credentials come from the environment and the files that each store's own
tools read; none is written anywhere.
"""
