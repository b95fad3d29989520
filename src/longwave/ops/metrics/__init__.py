"""`/metrics`: figures for Prometheus. Two kinds of them, from two places.

*State* (how much waits, who is held) is read from the ledger when it is asked for, and so the same from any web
process. *Events* (how jobs and deliveries ended, how long they took) are counted where they happen, in the workers.

A figure is declared before it is used (`figures.Figure`): docs, dashboard and alerts are held to what is declared. To
add a state: declare its figures in a module here beside a function that reads them, and put both as a `Part` into
`state.PARTS`. What the function raises costs its own part of the page only. It is called at every scrape: a few
statements by an index, no waiting for a network. What has to wait is a `Part` with `every` seconds: that is read
beside the scrape, in a thread, and the page shows what was found last. To add an event, see `events.py`.
"""
