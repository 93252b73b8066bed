"""The command line.

- ``command``      the console command ``kschat``: its subcommands, tokens, ``run``
- ``options``      an option for each setting: for ``twistd kschat`` and for the command
- ``connect``      ``kschat check-config --connect``: opens what a configuration names
- ``warnings``     secrets that others can read or guess
- ``maintenance``  ``kschat backup`` and ``kschat restored``
"""

from kschat.cli.command import run

__all__ = ["run"]
