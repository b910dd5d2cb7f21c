"""ClarifAI: a vault of Markdown becomes a knowledge graph with vectors.

`notes/` is pure (text in, values out); `schema`, `core`, `watcher` and `scheduler` are the four programs of the stack.
"""

__version__ = "1.0.0"
