"""How many workers each group of queues should have: measured (`load`), decided (`deciding`), told (`published`).

What decides is `core.scaling`. `steering` does it again and again; `keeping` has the supervisor start and stop workers
as was decided, and `pool` says which of them.
"""
