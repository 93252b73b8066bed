"""Asks the HTTP API of a daemon, for the commands."""

from __future__ import annotations

import http.client
import re
import ssl
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec

from kschat.cli.definitions import REFUSED, TRY_AGAIN, UNREACHABLE
from kschat.settings import ConfigError

T = TypeVar("T")

#: Addresses at which a daemon listens everywhere, and where it is reached from the same machine.
_EVERYWHERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}

_RETRY: Final = frozenset({429, 503})


class ApiFailure(Exception):
    """The API did not do it.

    Attributes:
        status: the exit status.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class _Problem(msgspec.Struct):
    """RFC 9457."""

    type: str = ""
    detail: str = ""


class Api(Protocol):
    """What the commands use."""

    def ask(self, operation: str, answer: type[T], **body: Any) -> T:
        """Do an operation; its answer. Raises ApiFailure."""

    def raw(self, operation: str, **body: Any) -> bytes:
        """The same, as JSON."""


class ApiClient:
    """One connection to the API, which is opened again where the daemon closed it.

    Args:
        url: of the API, without a path.
        key: the key.
        timeout: seconds.
        ca: file with certificates to trust; "" for those of the system.

    Raises:
        ConfigError: the URL, the key or the file can't be used.
    """

    def __init__(self, url: str, key: str, *, timeout: float, ca: str = "") -> None:
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port
        except ValueError:
            raise ConfigError(f"--api: {url!r} is no URL: write http://127.0.0.1:9200") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise ConfigError(f"--api: {url!r} is not the API's URL: write http://127.0.0.1:9200")
        if not re.fullmatch(r"[!-~]+", key):
            raise ConfigError("the key of the API is not ASCII without spaces")
        self._url = f"{parts.scheme}://{parts.netloc}"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            try:
                context = ssl.create_default_context(cafile=ca or None)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f"--ca: {ca} can't be used: {error}") from None
            self._connection = http.client.HTTPSConnection(parts.hostname, port, timeout=timeout, context=context)
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, port, timeout=timeout)

    def ask(self, operation: str, answer: type[T], **body: Any) -> T:
        """Do an operation; its answer. Raises ApiFailure."""
        try:
            return msgspec.json.decode(self.raw(operation, **body), type=answer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ApiFailure(UNREACHABLE, f"{self._url} answered with something else: {error}") from None

    def raw(self, operation: str, **body: Any) -> bytes:
        """The same, as JSON. Fields that are None are left out."""
        data = msgspec.json.encode({name: value for name, value in body.items() if value is not None})
        status, said = self._exchange(f"/v1/{operation}", data)
        if status == http.HTTPStatus.OK:
            return said
        try:
            problem = msgspec.json.decode(said, type=_Problem)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            problem = _Problem()
        if not problem.detail and status != http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise ApiFailure(UNREACHABLE, f"{self._url} answered with status {status}: is it the API?")
        sentence = problem.detail or "The request is too large."
        raise ApiFailure(TRY_AGAIN if status in _RETRY else REFUSED, sentence)

    def _exchange(self, path: str, data: bytes) -> tuple[int, bytes]:
        # A daemon ends connections that nobody uses, and what was asked then was not done.
        kept = self._connection.sock is not None
        try:
            return self._once(path, data)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            self._connection.close()
            if not kept:
                raise ApiFailure(UNREACHABLE, f"{self._url} ended the connection: {error}") from None
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise ApiFailure(UNREACHABLE, f"{self._url} can't be reached: {reason_of(error)}") from None
        try:
            return self._once(path, data)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise ApiFailure(UNREACHABLE, f"{self._url} can't be reached: {reason_of(error)}") from None

    def _once(self, path: str, data: bytes) -> tuple[int, bytes]:
        self._connection.request("POST", path, data, self._headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()


def reason_of(error: Exception) -> str:
    """What went wrong."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def url_of(endpoint: str) -> str:
    """The URL of an API that listens at a Twisted endpoint. Raises ConfigError."""
    kind, *parts = (part.replace("\0", ":") for part in endpoint.replace("\\:", "\0").split(":"))
    named = dict(part.split("=", 1) for part in parts if "=" in part)
    port = named.get("port") or next((part for part in parts if "=" not in part), "")
    if kind not in ("tcp", "tcp6", "ssl") or not port.isdigit():
        raise ConfigError(f"api_listen: {endpoint!r} does not tell the API's URL: give it by --api")
    host = named.get("interface", "")
    host = _EVERYWHERE.get(host, f"[{host}]" if ":" in host else host)
    return f"{'https' if kind == 'ssl' else 'http'}://{host}:{port}"


class _Entry(msgspec.Struct):
    scopes: tuple[str, ...] = ()
    key: str = ""


def key_in(path: str, scope: str) -> str:
    """The first key in the daemon's file of keys that has a scope. Raises ConfigError."""
    try:
        entries = msgspec.convert(tomllib.loads(Path(path).read_text("utf-8")), dict[str, _Entry])
    except OSError as error:
        raise ConfigError(f"api_keys: {path} can't be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError):
        raise ConfigError(f"api_keys: {path} is not a file of keys") from None
    for entry in entries.values():
        if entry.key and ("*" in entry.scopes or scope in entry.scopes):
            return entry.key
    raise ConfigError(f"api_keys: {path} has no key, in clear, with the scope {scope}: give one by --key-file")


def key_of(given: str | None, environ: Mapping[str, str], keys: str, scope: str) -> str:
    """The key to use. Raises ConfigError.

    Args:
        given: the file of ``--key-file``.
        environ: may have ``KSCHAT_API_KEY``.
        keys: the daemon's file of keys; "" where it is not known.
        scope: that the key has to have.
    """
    if given:
        try:
            return Path(given).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--key-file: {given} can't be read: {reason_of(error)}") from None
    if key := environ.get("KSCHAT_API_KEY", "").strip():
        return key
    if keys:
        return key_in(keys, scope)
    raise ConfigError("the API's key is missing: give it by --key-file, KSCHAT_API_KEY or the setting api_keys")
