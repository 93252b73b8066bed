"""Attacks on a daemon on the loopback, each beside a healthy pair: ``make attack``, ``python -m attack --help``.

What is measured, and what is required, is in docs/security.md. The modules:

- ``rows/``: the attacks, by kind; ``rows/__init__.py`` has the table of all.
- ``scenario``: what a row is, and what its code is given.
- ``attacker``, ``pair``, ``measured_daemon``: the three processes of a run.
- ``wire``: a blocking WebSocket client, which may send anything.
- ``run``: plays one row; ``verdict``: judges it; ``report``: prints it.

It does not know the inside of the daemon: it stands outside, as an attacker does.
"""
