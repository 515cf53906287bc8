"""Training an adapter: what a run is, what it will do, doing it, and what happened.

`spec` (a run as a file) → `plan` (every automatic value with its reason) → `run` (phases, in order) → `trainer`
(the loop) → `events` (what happened, appended to a file) → `progress` (events folded to what a page shows).
`desk` is all of it as a person deals with it: the `queue`, the `runner` with its background thread, the `history`,
`comparison`, `sweep`, `lineage`, `run_archive`. Modules that need torch are imported where they are used.
"""
