"""Base models: where they come from, what a folder holds, how it gets into memory, how it answers.

`catalog` looks at folders without loading them, `sources` fills `models/`, `loader` makes the one pristine tree, `twin`
makes the module trees that chat and training work on, `generation` is the one decode loop. Adapters, conversations and
runs belong to other rooms. Nothing here is imported with the package: `loader`, `twin` and `generation` need torch.
"""
