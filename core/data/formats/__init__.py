"""Rows become examples: which format a file has, and what each of its rows says. `row_reader.py` comes first.

    row_reader.py   one row → one example: finds the column of each role, by name, by path or by pattern
    detection.py    which format most rows of a file have, and the columns for the form in which a person maps them
    roles.py        what the columns of each role say, put together as one example; the same for every format
    turns.py        lists of messages in either spelling, tools, and calls of them
    row_values.py   one row being read: collects everything that is wrong with it
    names.py        what keys and roles are called in the world's files
    paths.py        `instances[0].input`: places inside nested rows
    patterns.py     Text Generation WebUI's format files

What makes a conversation good is asked in `core.data.checks`.
"""
