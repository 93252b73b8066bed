"""Reads settings, keys and certificates again while the daemon runs, and logs a line for each.

Live settings (limits, what is logged) change at once; other settings need a restart.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from twisted.application.service import Service
from twisted.logger import Logger

from kschat.api.keys import ApiKeys
from kschat.chat.clocks import WallClock
from kschat.chat.keys import KeysError
from kschat.chat.tokens import Verifier
from kschat.front.bindable import endpoint_fault
from kschat.front.tls_endpoint import TlsEndpoint
from kschat.hooks.signing import Signer, read_secrets
from kschat.settings import SETTINGS, Config, ConfigError, load, read_keys, read_secret
from kschat.settings.given import reason_of

#: Reads something again. Returns what was found, for the log. Raises ValueError or OSError, and then keeps what there
#: was before.
Reread = Callable[[], str]

#: The settings that name files of keys.
_KEY_FILES = ("secret_file", "public_key_file", "jwks_file")


def settings_reader(values: Mapping[str, str], environ: Mapping[str, str]) -> Callable[[], Config]:
    """Reads the settings as at the start, whatever the working directory is by then.

    Args:
        values: of the command line.
        environ: of the process.
    """
    start = os.getcwd()

    def read() -> Config:
        with contextlib.nullcontext() if os.getcwd() == start else contextlib.chdir(start):
            return load(values, environ)

    return read


class Reloading(Service):
    """What is read again, all of it, when the operator asks.

    Args:
        parts: by the setting that names each.
        use: applies the live settings of a configuration.
    """

    log = Logger()
    name = "reloading"

    def __init__(self, parts: Mapping[str, Reread], use: Callable[[Config], None] | None = None) -> None:
        self._parts = parts
        self._use = use
        self._config: Config | None = None
        self._read: Callable[[], Config] | None = None

    def watch(self, config: Config, read: Callable[[], Config]) -> None:
        """Read the settings again too.

        Args:
            config: what they were at the start.
            read: reads them. Raises ConfigError or OSError.
        """
        self._config = config
        self._read = read

    def reload(self) -> None:
        """Read each part. One that can't be used changes nothing, and keeps none of the others from being read."""
        self._reload_settings()
        if not self._parts:
            self.log.info("asked to read keys and certificates again: no setting names a file of them")
        for name, reread in self._parts.items():
            try:
                found = reread()
            except Exception as error:  # noqa: BLE001 - each kind of file is unfit in its own way; it is logged
                self.log.error(
                    "{name} was not read again: {reason}; what was read before is still used",
                    name=name,
                    reason=_reason(error),
                )
            else:
                self.log.info("{name} was read again: {found}", name=name, found=found)

    def _reload_settings(self) -> None:
        before = self._config
        if before is None or self._read is None or self._use is None:
            return
        try:
            config = self._read()
            live = {name: getattr(config, name) for name, setting in SETTINGS.items() if setting.about.live}
            used = msgspec.structs.replace(before, **live)
            self._use(used)
        except Exception as error:  # noqa: BLE001 - as below
            self.log.error(
                "the settings were not read again: {reason}; what was read before is still used", reason=_reason(error)
            )
            return
        self._config = used
        if config == before:
            self.log.info("the settings were read again: they are as before")
        for name, setting in SETTINGS.items():
            old, new = (setting.to_toml(getattr(one, name)) for one in (before, config))
            if getattr(before, name) == getattr(config, name):
                continue
            if setting.about.live:
                self.log.info("{name} is {value} from now on; it was {before}", name=name, value=new, before=old)
            else:
                self.log.warn("{name} was changed, which needs a restart: it is still {before}", name=name, before=old)


def _reason(error: Exception) -> str:
    if isinstance(error, KeysError | ConfigError):
        return str(error)
    return (reason_of(error) if isinstance(error, OSError) else endpoint_fault(error)).rstrip(".")


def with_absolute_paths(config: Config) -> Config:
    """``config`` whose files of keys are found wherever the process is later: twistd may change the directory."""
    named = {name: path for name in (*_KEY_FILES, "api_keys", "hooks_secret_file") if (path := getattr(config, name))}
    return msgspec.structs.replace(config, **{name: str(Path(path).absolute()) for name, path in named.items()})


def keys_part(config: Config, verifier: Verifier) -> dict[str, Reread]:
    """The file of keys that tokens are verified with, if a file has them. ``config``: with absolute paths."""
    named = [name for name in _KEY_FILES if getattr(config, name)]
    if not named:
        return {}
    known = [read_keys(config)]
    # What the peers' proof is derived from. All daemons have it from their start, and it is not changed one by one.
    shared = read_secret(config) if config.peer_listen and not config.peer_secret else None

    def reread() -> str:
        keys = read_keys(config)
        verifier.use(keys)
        before, known[0] = known[0], keys
        found = f"{keys} for {', '.join(config.algorithms)}{', as before' if keys == before else ''}"
        if shared is not None and read_secret(config) != shared:
            found += (
                "; requests of other daemons are still checked with the secret of the start: give peer_secret, or "
                "restart all daemons"
            )
        return found

    return {named[0]: reread}


def certificate_part(name: str, endpoint: TlsEndpoint | None, wall: WallClock) -> dict[str, Reread]:
    """The certificate of the endpoint in the setting ``name``, if it has one."""
    if endpoint is None:
        return {}

    def reread() -> str:
        return endpoint.reload(datetime.datetime.fromtimestamp(wall(), datetime.UTC))

    return {name: reread}


def api_keys_part(path: str, keys: ApiKeys) -> dict[str, Reread]:
    """The file of the keys of the API."""

    def reread() -> str:
        keys.use(ApiKeys.read(path))
        return f"{len(keys)} keys"

    return {"api_keys": reread}


def hooks_secret_part(path: str, signer: Signer) -> dict[str, Reread]:
    """The file of the secrets of hooks."""

    def reread() -> str:
        signer.use(read_secrets(path))
        return f"{len(signer)} secrets"

    return {"hooks_secret_file": reread}
