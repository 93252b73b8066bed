"""``kschat push-key``: makes the key of Web Push."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

from twisted.python import usage

from kschat.cli.definitions import DEFINITIONS
from kschat.cli.options import CommandHelp, line_of
from kschat.hooks.vapid import VapidError, VapidKey, new_key
from kschat.settings import ConfigError
from kschat.settings.given import reason_of


class PushKeyOptions(CommandHelp):
    """``kschat push-key``."""

    definition = DEFINITIONS["push-key"]
    optFlags: ClassVar[list[list[Any]]] = definition.flags()

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Accept FILE before the options or after them."""
        super().parseOptions(self.permuted(options or ()))

    def parseArgs(self, *files: str) -> None:
        """The file."""
        if len(files) != 1:
            raise usage.UsageError("push-key: name the file: kschat push-key FILE")
        self["file"] = files[0]


def push_key(options: PushKeyOptions) -> str:
    """Make a key, or look at one; returns a line with the public key. Raises ``ConfigError``."""
    path = options["file"]
    try:
        if not options["show"]:
            pem = new_key()
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(pem)
        key = VapidKey.read(path).public_key
    except FileExistsError:
        raise ConfigError(f"push-key: {path} exists: --show prints its public key") from None
    except VapidError as error:
        raise ConfigError(f"push-key: {path} {error}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"push-key: {path} cannot be used: {reason_of(error)}") from None
    return line_of(options, key, file=path, key=key)
