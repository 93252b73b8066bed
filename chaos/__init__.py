"""Whether the promise holds when things break: ``python -m chaos``, or ``make chaos``.

* ``proxy``: TCP between clients and the daemon, which cuts, stalls and half-closes connections.
* ``cast``: who takes part, and what each asks for.
* ``ledger``: what was said to have been sent, acknowledged and received, and what of it is wrong.
* ``archive``: what stands in the SQLite file afterwards.
* ``daemon``: the daemon, which is killed and started again.
* ``actors``: the real npm clients, in one node process (``actors.js``).
* ``run``: one run, from the first connection to the counts.
* ``options``: the command line.
"""
