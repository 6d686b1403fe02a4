"""The commands as Python functions: same words, same defaults; they print nothing and return values.

`view` is a command only: it serves pages until Ctrl-C, and in a notebook a run shows itself.
"""
