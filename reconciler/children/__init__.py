"""Tasks that start tasks: what a function asks for while it runs, and who does it for it (docs/composing.md).

The function's process has no connection of ours. `parent` is its side: it posts requests and waits for answers. `desk` is
the supervisor's side: it stores children, watches for their ends and keeps values, for one launch. `requests` is what the
two say to each other; `handle` is what a function holds of a child.
"""
