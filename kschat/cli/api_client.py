"""Asks the HTTP API of a daemon, for the commands."""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec

from kschat.api.keys import key_in
from kschat.api.problems import TEMPORARY
from kschat.api.types import Problem
from kschat.cli.definitions import REFUSED, TRY_AGAIN, UNREACHABLE
from kschat.settings import ConfigError

T = TypeVar("T")

#: Addresses at which a daemon listens everywhere, and where it is reached from the same machine.
_EVERYWHERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}


class ApiFailure(Exception):
    """The API did not do what was asked.

    Attributes:
        status: the exit status.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


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
            raise ConfigError(f"--api: {url!r} is not a URL: write http://127.0.0.1:9200") from None
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
            raise ApiFailure(UNREACHABLE, f"{self._url} sent an answer that cannot be read: {error}") from None

    def raw(self, operation: str, **body: Any) -> bytes:
        """The same, as JSON. Fields that are None are left out."""
        data = msgspec.json.encode({name: value for name, value in body.items() if value is not None})
        status, said = self._exchange(f"/v1/{operation}", data)
        if status == http.HTTPStatus.OK:
            return said
        try:
            problem = msgspec.json.decode(said, type=Problem)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            if status == http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                raise ApiFailure(REFUSED, "The request is too large.") from None
            raise ApiFailure(UNREACHABLE, f"{self._url} answered with status {status}: is it the API?") from None
        raise ApiFailure(exit_status({problem.type}), problem.detail)

    def _exchange(self, path: str, data: bytes) -> tuple[int, bytes]:
        # A daemon closes idle connections; a request that crosses that is sent again, once.
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
    """What went wrong, in a few words."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def exit_status(types: AbstractSet[str]) -> int:
    """The exit status for what was refused with these types of problems."""
    return TRY_AGAIN if types <= TEMPORARY else REFUSED


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
        try:
            key = key_in(keys, scope) or ""
        except OSError as error:
            raise ConfigError(f"api_keys: {keys} can't be read: {reason_of(error)}") from None
        except ValueError as error:
            raise ConfigError(f"api_keys: {keys}: {error}") from None
        if not key:
            raise ConfigError(f"api_keys: {keys} has no key, in clear, with the scope {scope}: give one by --key-file")
        return key
    raise ConfigError("the API's key is missing: give it by --key-file, KSCHAT_API_KEY or the setting api_keys")
