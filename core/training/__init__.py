"""Training an adapter: what a run is, what it will do, doing it, and what happened.

`spec` (a run as a file) → `plan` (every automatic value with its reason) → `run` (phases, in order) → `trainer`
(the loop) → `events` (what happened, appended to a file) → `progress` (events folded to what a page shows).
`runner` owns the background thread and the history. Modules that need torch are imported where they are used.
"""
