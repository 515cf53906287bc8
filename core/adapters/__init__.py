"""Adapters: the folders in `loras/`, what makes one valid, what a new one looks like.

`card` is the file that tells where an adapter comes from, `adapter_types` the table of the types that can be applied,
`validity` judges a folder by it before anything is loaded, `store` lists, renames, deletes and saves folders, `methods`
makes the peft configuration of a new adapter. Applying an adapter to the model that people chat with is
`core.chat.serving`; training one is `core.training`.
"""
