"""The command line.

- ``command``      the console command ``kschat``: its subcommands, tokens, ``run``
- ``definitions``  all subcommands: their options in groups, operands, exit statuses
- ``definition``   what such a definition is, and its help
- ``completion``   completion for bash, zsh and fish, made from the definitions
- ``manual``       man pages and docs/commands.md, made from the definitions
- ``options``      an option for each setting: for ``twistd kschat`` and for the command
- ``api_commands`` the commands that use the HTTP API
- ``api_client``   asks the HTTP API
- ``status_screen``  what ``kschat status`` shows
- ``inspecting``   ``kschat token inspect``
- ``revoke``       ``kschat revoke``
- ``connect``      ``kschat check-config --connect``: opens what a configuration names
- ``warnings``     secrets that others can read or guess
- ``push_key``     ``kschat push-key``
- ``migrate``      ``kschat migrate-store``
- ``maintenance``  ``kschat backup`` and ``kschat restored``
"""

from kschat.cli.command import run

__all__ = ["run"]
