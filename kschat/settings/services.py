"""RabbitMQ and Redis as Cloud Foundry names them: the services that are bound to an app, in ``VCAP_SERVICES``.

Cloud Foundry's documents: "Application Environment Variables" (``VCAP_SERVICES``, ``VCAP_SERVICES_FILE_PATH``) and
"Binding Credentials". What brokers write into ``credentials`` differs; the forms that are read here are

- ``protocols`` with ``amqp`` or ``amqp+ssl`` (RabbitMQ of VMware Tanzu and anynines);
- ``uris``, of the nodes of one cluster; ``uri``, ``url``;
- ``hostname`` or ``host``, ``port``, ``username``, ``password``, ``vhost``; with ``tls_port``, or ``tls`` or ``ssl``
  true, TLS is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from kschat.settings.given import ConfigError, reason_of

VARIABLE: Final = "VCAP_SERVICES"

#: Names the file with the same content, where the services are too many for a variable.
FILE_VARIABLE: Final = "VCAP_SERVICES_FILE_PATH"

#: Key of the services that users made by ``cf create-user-provided-service``: it says nothing of their kind.
_USER_PROVIDED: Final = "user-provided"


class Kind(msgspec.Struct, frozen=True):
    """A kind of service.

    Attributes:
        setting: its URL is the value of this setting.
        words: its tags, and what its label or name contains.
        schemes: of its URL: without TLS, and with.
        port: where it listens unless the credentials say so; without TLS, and with.
    """

    setting: str
    words: tuple[str, ...]
    schemes: tuple[str, str]
    port: tuple[int, int]


KINDS: Final = (
    Kind("amqp", ("rabbitmq", "amqp", "rabbit"), ("amqp", "amqps"), (5672, 5671)),
    Kind("redis", ("redis", "valkey"), ("redis", "rediss"), (6379, 6379)),
)


class Service(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """One service, with what is read of it.

    Attributes:
        name: that the user gave it.
        label: of the offering in the marketplace.
        tags: of the offering, and those that the user gave.
        credentials: see the module.
    """

    credentials: dict[str, Any]
    name: str | None = None
    label: str | None = None
    tags: list[str] | None = None

    def is_tagged(self, kind: Kind) -> bool:
        """Whether a tag is the kind's."""
        return any(tag.lower() in kind.words for tag in self.tags or ())

    def is_labelled(self, kind: Kind) -> bool:
        """Whether it is an offering of the kind."""
        return self.label != _USER_PROVIDED and _holds(self.label, kind)

    def has_url(self, kind: Kind) -> bool:
        """Whether its credentials have a URL of the kind."""
        return any(text.startswith(tuple(f"{one}://" for one in kind.schemes)) for text in _urls(self.credentials))

    def is_named(self, kind: Kind) -> bool:
        """Whether the user has named it so."""
        return _holds(self.name, kind)


def bound_services(environ: Mapping[str, str], kinds: tuple[Kind, ...] = KINDS) -> dict[str, tuple[str, str]]:
    """The URLs of the bound services.

    Args:
        environ: the environment.
        kinds: which services are looked for.

    Returns:
        By the name of the setting: its value, and the words that say where it came from.

    Raises:
        ConfigError: the variable cannot be read, or there are two services of a kind. No text holds a credential.
    """
    services = list(_services(environ))
    found = {}
    for kind in kinds:
        chosen = _chosen(services, kind)
        if chosen is not None:
            name = chosen.name or chosen.label or kind.words[0]
            found[kind.setting] = _url(chosen, kind, name), f"the environment ({VARIABLE}, service {name})"
    return found


def _services(environ: Mapping[str, str]) -> Iterator[Service]:
    text, origin = environ.get(VARIABLE, ""), VARIABLE
    if not text and (path := environ.get(FILE_VARIABLE, "")):
        origin = FILE_VARIABLE
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"the file {path!r} from the environment ({origin}) cannot be read: {reason_of(error)}"
            ) from None
    if not text.strip():
        return
    try:
        offerings = msgspec.json.decode(text.encode("utf-8", "surrogateescape"), type=dict[str, list[Service]])
    except (msgspec.MsgspecError, UnicodeError):
        # Its text may show a part of the value.
        raise ConfigError(
            f"{origin} from the environment is not what Cloud Foundry writes there: a JSON object of lists of services"
        ) from None
    for services in offerings.values():
        yield from services


def _chosen(services: list[Service], kind: Kind) -> Service | None:
    """The service of a kind: by its tags, else its label, else its URL, else its name."""
    for matches in (Service.is_tagged, Service.is_labelled, Service.has_url, Service.is_named):
        found = [service for service in services if matches(service, kind)]
        if len(found) > 1:
            names = " and ".join(sorted(one.name or one.label or "one without a name" for one in found))
            raise ConfigError(
                f"{kind.setting}: several bound services could be meant ({names} in {VARIABLE}): unbind all but one, "
                f"or give KSCHAT_{kind.setting.upper()}"
            )
        if found:
            return found[0]
    return None


def _holds(text: str | None, kind: Kind) -> bool:
    return any(word in (text or "").lower() for word in kind.words)


def _urls(credentials: Mapping[str, Any]) -> list[str]:
    """All URLs in the credentials, those of a whole cluster first."""
    many = credentials.get("uris")
    listed = [one for one in many if isinstance(one, str)] if isinstance(many, list) else []
    return listed + [one for name in ("uri", "url") if isinstance(one := credentials.get(name), str) and one]


def _url(service: Service, kind: Kind, name: str) -> str:
    credentials = _of_protocol(service.credentials, kind)
    urls = [one for one in _urls(credentials) if one.startswith(tuple(f"{each}://" for each in kind.schemes))]
    # Redis's own URLs often have a user's name that its server does not know; its parts say whether there is one.
    if kind.setting == "redis" and (made := _of_parts(credentials, kind, urls)):
        return made
    made = _joined(urls) or _of_parts(credentials, kind, urls)
    if not made:
        raise ConfigError(
            f"{kind.setting}: the service {name} from the environment ({VARIABLE}) has neither a uri nor a hostname in "
            f"its credentials: give KSCHAT_{kind.setting.upper()}"
        )
    return made


def _of_protocol(credentials: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """The credentials of the protocol, if they are given by protocol: those with TLS where there are such."""
    protocols = credentials.get("protocols")
    if not isinstance(protocols, dict):
        return credentials
    for scheme in (f"{kind.schemes[0]}+ssl", kind.schemes[1], kind.schemes[0]):
        if isinstance(found := protocols.get(scheme), dict):
            return found
    return credentials


def _joined(urls: list[str]) -> str:
    """One URL with the hosts of all that differ in nothing else; "" if there is none."""
    parts = []
    for url in dict.fromkeys(urls):
        scheme, _, rest = url.partition("://")
        where, slash, path = rest.partition("/")
        who, at, host = where.rpartition("@")
        parts.append((f"{scheme}://{who}{at}", host, f"{slash}{path}"))
    alike = [part for part in parts if (part[0], part[2]) == (parts[0][0], parts[0][2])]
    return f"{alike[0][0]}{','.join(part[1] for part in alike)}{alike[0][2]}" if alike else ""


def _of_parts(credentials: Mapping[str, Any], kind: Kind, urls: list[str]) -> str:
    """A URL of the host, the port and so on; "" without a host."""

    def text(*names: str) -> str:
        values = (credentials.get(name) for name in names)
        return next((str(one) for one in values if isinstance(one, str | int) and not isinstance(one, bool)), "")

    hosts = credentials.get("hostnames") or credentials.get("hosts")
    host = text("hostname", "host")
    if kind.setting == "amqp" and isinstance(hosts, list) and all(isinstance(one, str) for one in hosts):
        all_hosts = list(dict.fromkeys(hosts))
    else:
        all_hosts = [host] if host else []
    if not all_hosts:
        return ""
    flags = ("tls", "ssl", "tls_enabled")
    tls = (
        any(credentials.get(name) is True for name in flags)
        or bool(text("tls_port"))
        or any(url.startswith(f"{kind.schemes[1]}://") for url in urls)
    )
    port = (tls and text("tls_port", "ssl_port")) or text("port") or str(kind.port[tls])
    user, password = text("username", "user"), text("password", "pass")
    who = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
    where = ",".join(f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in all_hosts)
    vhost = text("vhost")
    path = f"/{quote(vhost, safe='')}" if kind.setting == "amqp" and vhost else ""
    return f"{kind.schemes[tls]}://{who}{where}{path}"
