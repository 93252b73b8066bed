"""Warnings of a configuration that works and is not safe, one sentence each.

Secrets that others can read or guess; messages on a disk that is emptied.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from kschat.backends.kinds import Backends
from kschat.backends.table import BACKENDS
from kschat.front.tls_endpoint import key_file
from kschat.http_client import is_protected
from kschat.settings import ENDPOINTS, Config, read_secret
from kschat.settings.loading import masked_sources
from kschat.settings.weak_secrets import weakness

#: How a secret is made that nobody guesses.
_MAKE = "make one by python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"


def warnings_of(
    config: Config, argv_values: Mapping[str, str], environ: Mapping[str, str], backends: Backends = BACKENDS
) -> list[str]:
    """What an operator should know of a configuration that is in order.

    Args:
        config: what ``load`` made of the next two.
        argv_values, environ: see ``settings.load``.
        backends: see there.
    """
    return [
        *_guessable(config),
        *_given_in_the_open(argv_values, environ),
        *_on_a_disk_that_is_emptied(config, environ, backends),
        *_unprotected(config),
        *(said for name, path, private in _files(config, backends) if (said := _exposed(name, path, private))),
    ]


def _guessable(config: Config) -> Iterator[str]:
    secret = None if config.demo else read_secret(config)
    for name, value in (
        ("secret_file" if config.secret_file else "secret", secret or b""),
        ("peer_secret", config.peer_secret.encode("utf-8", "surrogateescape")),
    ):
        if value and (why := weakness(value)):
            yield f"{name}: the secret is easily guessed: {why}; {_MAKE}"


def _unprotected(config: Config) -> Iterator[str]:
    if config.ask_url and not is_protected(config.ask_url):
        yield (
            "ask_url: the network between this machine and your back end can read what users write, and allow what it "
            "forbids: use https, or a network that is yours alone"
        )
    if config.hooks_url and not is_protected(config.hooks_url):
        yield (
            "hooks_url: the network between this machine and your back end can read who writes to whom: use https, or "
            "a network that is yours alone"
        )


def _given_in_the_open(argv_values: Mapping[str, str], environ: Mapping[str, str]) -> Iterator[str]:
    """Secrets on the command line, and in a file of settings that others can read."""
    in_files: dict[str, list[str]] = {}
    for name, value, origin in masked_sources(argv_values, environ):
        if not name.endswith("secret") and not _has_password(value):
            continue
        if origin.startswith("the command line"):
            yield (
                f"{name}: other users of this machine can read it in the list of processes: give it by a file, or by "
                f"the environment (KSCHAT_{name.upper()})"
            )
        elif origin.startswith("the file "):
            in_files.setdefault(origin.removeprefix("the file "), []).append(name)
    for path, names in in_files.items():
        if said := _exposed("config", Path(path), private=True):
            yield f"{said} (it holds {', '.join(names)})"


def _on_a_disk_that_is_emptied(config: Config, environ: Mapping[str, str], backends: Backends) -> Iterator[str]:
    """Cloud Foundry gives an app a new disk at each start."""
    kind, _ = backends.store(config.store)
    if "VCAP_APPLICATION" in environ and not kind.shared and not config.demo:
        yield (
            f"store: {config.store}: all messages are lost at the next start of this Cloud Foundry app, whose disk is "
            "emptied: bind a RabbitMQ and a Redis to it"
        )


def _has_password(url: str) -> bool:
    # Not by urllib: newer versions of it refuse a list of hosts with an IPv6 address in it.
    who = url.partition("://")[2].rpartition("@")[0]
    return ("/" not in who and bool(who.partition(":")[2])) or "password=" in url.partition("?")[2]


def _files(config: Config, backends: Backends) -> Iterator[tuple[str, Path, bool]]:
    """The setting, the file that it names, and whether nobody else may read it."""
    if config.secret_file:
        yield "secret_file", Path(config.secret_file), True
    if config.api_keys:
        yield "api_keys", Path(config.api_keys), True
    if config.push_key:
        yield "push_key", Path(config.push_key), True
    if config.hooks_secret_file:
        yield "hooks_secret_file", Path(config.hooks_secret_file), True
    if config.public_key_file:
        yield "public_key_file", Path(config.public_key_file), False
    if config.jwks_file:
        yield "jwks_file", Path(config.jwks_file), _holds_secrets(Path(config.jwks_file))
    for name in ("amqp", "redis"):
        # The key is in its own file or in the certificate's.
        if cert := getattr(config, f"{name}_cert"):
            key = getattr(config, f"{name}_key")
            yield f"{name}_key" if key else f"{name}_cert", Path(key or cert), True
    for name in ENDPOINTS:
        if (key_path := key_file(getattr(config, name))) is not None:
            yield name, key_path, True
    kind, argument = backends.store(config.store)
    for path in kind.files(argument):
        yield "store", path, True


def _holds_secrets(path: Path) -> bool:
    """Whether a JWK Set holds shared secrets, or private keys."""
    try:
        keys = json.loads(path.read_bytes())["keys"]
        return any(isinstance(key, dict) and ("k" in key or "d" in key) for key in keys)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _exposed(name: str, path: Path, private: bool) -> str:
    """What others can do with a file, as a sentence; "" where they can't."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return ""
    if not stat.S_ISREG(found.st_mode):
        return ""
    # A file of root's that is given to the group of the daemon is how some systems hand over secrets. Root, who asks
    # about the settings of a daemon that is another user's, sees the other group.
    handed_over = found.st_uid == 0 and (os.geteuid() != 0 or found.st_gid != 0)
    mode = stat.S_IMODE(found.st_mode) & ~(0o640 if handed_over else 0o600)
    if mode & 0o044 and private:
        can = "read and change" if mode & 0o022 else "read"
        return f"{name}: other users of this machine can {can} {path}: chmod 600 {path}"
    if mode & 0o022:
        return f"{name}: other users of this machine can change {path}: chmod go-w {path}"
    return ""
