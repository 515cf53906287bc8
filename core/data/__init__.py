"""A person's file becomes tokens: readers → formats → checks → rendering → batching; `datasets` is the registry.

Nothing here imports torch or transformers at import time; `batching` alone builds tensors, inside its function.
"""
