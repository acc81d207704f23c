"""How fast builds are: what was measured, on which machine, and what can be expected of the work that is left.

In: what stages did, as `telemetry` counts it (`StageSpeed`). Out: `perf.json` of a dataset, rates by stage, a time that
work will take. `machine` describes this machine, `perf_file` keeps the last builds, `rates` are made of them (or come
with the code, in `shipped_rates.toml`), `expected` propagates work from stage to stage, `perf_tables` shows it.
`listeners` lets others follow a build while it runs; `metrics` tells Prometheus.
"""
