"""Chat: conversations, the settings and characters that shape answers, and the engine that makes them.

`conversations`, `characters`, `sampling` and `system_prompt` are plain values, pure functions and small stores of
files; none of them needs torch. `serving` keeps the applied adapters over the base model, `engine` answers requests
with them on one thread; both are imported only once a model is loaded.
"""
