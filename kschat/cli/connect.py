"""``kschat check-config --connect``: opens each part of a configuration as the daemon would, and reports the result.

It changes nothing: it creates no file, declares no exchange, and releases each port at once.
"""

from __future__ import annotations

import datetime
import os
import random
import re
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography import x509
from twisted.internet.defer import Deferred, TimeoutError, gatherResults  # noqa: A004 - it is not Python's
from twisted.internet.interfaces import IReactorTime
from twisted.python.filepath import FilePath

from kschat.assets import directory
from kschat.backends import amqp, jwks, redis
from kschat.backends.kinds import Backends
from kschat.backends.table import BACKENDS
from kschat.chat.keys import KeysError
from kschat.front.bindable import cannot_listen
from kschat.front.certificates import certificate_text
from kschat.front.page import PageResource
from kschat.front.static import client_dist
from kschat.settings import ENDPOINTS, Config, jwks_settings, read_keys
from kschat.settings.keyfiles import KEYS

#: Seconds that one part may take; each is bounded by itself as well, but for names that nobody resolves.
PATIENCE: Final = 30.0


class Finding(msgspec.Struct, frozen=True):
    """What came of one part.

    Attributes:
        part: the setting that names it.
        text: what was found, or what is wrong.
        ok: whether a daemon that starts now could use it.
    """

    part: str
    text: str
    ok: bool = True

    def __str__(self) -> str:
        return f"{self.part}: {'ok' if self.ok else 'FAILED'}: {self.text}"


async def try_all(config: Config, reactor: Any, backends: Backends = BACKENDS) -> list[Finding]:
    """Open all that ``config`` names.

    Args:
        config: whose settings go together, as ``load`` has checked.
        reactor: the real one.
        backends: those that it was chosen from.

    Returns:
        A finding for each part, in the order of the settings.
    """
    parts: list[tuple[str, Callable[[], Awaitable[str]]]] = [
        (name, _later(_listening, description)) for name in ENDPOINTS if (description := getattr(config, name))
    ]
    if not config.demo:
        name = next(name for name in KEYS if getattr(config, name))
        published = jwks_settings(config)
        parts.append((name, _later(_keys, config) if published is None else partial(_jwks, published, config, reactor)))
    kind, argument = backends.store(config.store)
    if kind.look is not None:
        parts.append(("store", _later(kind.look, argument)))
    if kind.probe is not None:
        parts.append(("store", partial(kind.probe, config, argument, reactor)))
    if config.amqp:
        parts.append(("amqp", partial(amqp.probe, amqp.settings_of(config), reactor)))
    parts += [
        # Only the store's replicas are waited for.
        (name, partial(redis.probe, redis.settings_of(config, url), reactor, waits=name == config.store))
        for name in ("redis", "redis_pub", "redis_sub")
        if (url := getattr(config, name))
    ]
    parts.append(("templates", _later(_templates, config)))
    if config.client_dist:
        parts.append(("client_dist", _later(_client_dist, config)))
    tried = [Deferred.fromCoroutine(_tried(name, probe, reactor)) for name, probe in parts]
    return list(await gatherResults(tried))


async def _tried(name: str, probe: Callable[[], Awaitable[str]], clock: IReactorTime) -> Finding:
    try:
        return Finding(name, await _awaited(probe).addTimeout(PATIENCE, clock))
    except TimeoutError:
        return Finding(name, f"no answer within {PATIENCE:g} seconds", ok=False)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        return Finding(name, " ".join(str(error).split()) or type(error).__name__, ok=False)


def _awaited(probe: Callable[[], Awaitable[str]]) -> Deferred[str]:
    async def run() -> str:
        return await probe()

    return Deferred.fromCoroutine(run())


def _later(function: Callable[[Any], str], argument: Any) -> Callable[[], Awaitable[str]]:
    async def probe() -> str:
        return function(argument)

    return probe


def _listening(description: str) -> str:
    why = cannot_listen(description, relative=True)
    if why:
        raise ValueError(f"{description}: {why}")
    said = f"{description} is {'free' if why == '' else 'known at the start only'}"
    if (named := re.search(r"(?<!\\):certKey=((?:[^:\\]|\\.)*)", description)) is not None:
        path = re.sub(r"\\(.)", r"\1", named[1])
        said += f"; {_certificate(Path(path))}"
    return said


def _certificate(path: Path) -> str:
    """Whom the certificate in a PEM file is of, and until when. Raises ValueError if it is not good now."""
    certificates = x509.load_pem_x509_certificates(path.read_bytes())
    try:
        return certificate_text(certificates[0], datetime.datetime.now(datetime.UTC))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _keys(config: Config) -> str:
    try:
        said = f"{read_keys(config)} for {', '.join(config.algorithms)}"
    except (KeysError, OSError) as error:
        raise ValueError(str(error)) from None
    return said


async def _jwks(settings: jwks.JwksSettings, config: Config, reactor: Any) -> str:
    keys = await jwks.fetch(settings, reactor)
    keys.by_algorithm(config.algorithms, strict=False)
    return f"{keys} for {', '.join(config.algorithms)}"


def _templates(config: Config) -> str:
    where = directory("templates", config.templates)
    PageResource(where, issuer=None, demo=config.demo, randint=random.randint)
    return str(where.path)


def _client_dist(config: Config) -> str:
    there = client_dist(config.client_dist, FilePath(os.getcwd()))
    if not there.child("socket.io.js").isfile():
        raise ValueError(f"there is no socket.io.js in {there.path}")
    return str(there.path)
