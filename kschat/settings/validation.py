"""Checks across settings: valid combinations, and files that must exist."""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from kschat.api.keys import ApiKeys
from kschat.backends import amqp, jwks, redis
from kschat.backends.kinds import Backends, UnknownStore
from kschat.chat.keys import HMAC, KeysError, one_family
from kschat.front.bindable import unreadable
from kschat.front.clients import ClientAddresses, ProxyError
from kschat.front.origins import OPAQUE, Origin, OriginError, Origins
from kschat.hooks.http import check_url as check_hook_url
from kschat.hooks.push_hosts import PushHosts
from kschat.hooks.signing import SecretError, read_secrets
from kschat.hooks.vapid import VapidError, VapidKey, check_contact
from kschat.settings import hints
from kschat.settings.given import DEFAULTS, ConfigError, Given, reason_of
from kschat.settings.keyfiles import KEYS, read_keys, usable_algorithms
from kschat.settings.model import ENDPOINTS, Config
from kschat.settings.setting import Setting
from kschat.tracing.settings import check_endpoint, is_installed

PEER_URL = re.compile(r"http://(?P<host>\[[0-9a-fA-F:.]+\]|[\w.-]{1,100}):(?P<port>\d{1,5})/?", re.ASCII)

BASE_PATH = re.compile(r"(/[\w.~-]+)*/?", re.ASCII)

PUSH_URL = re.compile(r"https?://[^\s{}]+(?:(?:\{user\}|\{peer\})[^\s{}]*)*", re.ASCII)

PEER_LISTEN = re.compile(r"tcp6?:(?:port=)?(?P<port>\d{1,5})(?::.*)?:interface=(?P<host>(?:[\w.-]|\\:){1,100})(?::.*)?")


def check(config: Config, settings: Mapping[str, Setting], given: Mapping[str, Given], backends: Backends) -> None:
    """Look at what no setting can know alone. Raises ``ConfigError``."""

    def fault(name: str, reason: str) -> ConfigError:
        return given[name].fault(settings[name], reason)

    def named(name: str) -> str:
        return f"{name} ({getattr(config, name)} from {given[name].origin})"

    for name in ENDPOINTS:
        _check_endpoint(name, getattr(config, name), fault)
    _check_backends(config, backends, fault)
    _check_peers(config, fault)
    if config.max_unsent < 2 * config.max_payload:
        raise fault("max_unsent", f"is less than twice {named('max_payload')}")
    if config.max_buffered < 4 * config.max_unsent:
        raise fault("max_buffered", f"is less than four times {named('max_unsent')}")
    if config.store_bytes < config.max_payload:
        raise fault("store_bytes", f"is less than {named('max_payload')}")
    for name in ("origins", "frame_ancestors"):
        _check_origins(name, getattr(config, name), fault)
    _check_frame_ancestors(config.frame_ancestors, fault)
    for proxy in config.trusted_proxies:
        try:
            ClientAddresses((proxy,))
        except ProxyError as error:
            raise fault("trusted_proxies", f"holds {proxy!r}, which {error}") from None
    if not BASE_PATH.fullmatch(config.base_path):
        reason = "is not like /chat: letters, digits, - . _ and ~ between slashes"
        raise fault("base_path", hints.added(reason, hints.base_path(config.base_path)))
    if {".", ".."} & set(config.base_path.split("/")):
        reason = "is not like /chat: browsers resolve the parts . and .. and do not send them"
        raise fault("base_path", hints.added(reason, hints.base_path(config.base_path)))
    for name in ("templates", "static", "client_dist"):
        directory = getattr(config, name)
        if directory and not _is(Path.is_dir, directory):
            raise fault(name, hints.added("is not a directory", hints.path(directory)))
    _check_keys(config, settings, given, fault)
    _check_api(config, fault)
    _check_hooks(config, backends, fault)
    _check_push(config, backends, fault)
    _check_tracing(config, fault)


def _check_tracing(config: Config, fault: Callable[[str, str], ConfigError]) -> None:
    """That spans have a place to go to, and that what makes them is installed."""
    if not config.otel_endpoint:
        return
    try:
        check_endpoint(config.otel_endpoint)
    except ValueError as error:
        raise fault("otel_endpoint", str(error)) from None
    if not is_installed():
        raise fault("otel_endpoint", "needs OpenTelemetry, which is not installed: pip install 'kschat[otel]'")


def _check_push(config: Config, backends: Backends, fault: Callable[[str, str], ConfigError]) -> None:
    """That pushes can be signed, and go nowhere where they may not."""
    if not config.push_key:
        for name in ("push_contact", "push_private", "push_ca", "push_url"):
            if getattr(config, name):
                raise fault(name, "is of no use without push_key")
    elif not config.push_contact:
        raise fault("push_key", "needs push_contact too, such as mailto:you@example.org")
    elif not backends.store(config.store)[0].keeps:
        raise fault("push_key", f"needs a store that keeps messages, and the store {config.store} keeps none")
    for host in config.push_hosts:
        try:
            hosts = PushHosts((host,))
        except ValueError as error:
            raise fault("push_hosts", f"holds {host!r}, which {error}") from None
        if hosts.any and config.push_private:
            raise fault("push_hosts", "holds *, which cannot go with push_private: clients could reach your network")
    if config.push_key:
        _check_push_files(config, fault)
    if config.push_contact:
        try:
            check_contact(config.push_contact)
        except VapidError as error:
            raise fault("push_contact", str(error)) from None
    if config.push_url and not PUSH_URL.fullmatch(config.push_url):
        raise fault("push_url", "is not like https://app.example.org/chat?with={peer}")


def _check_push_files(config: Config, fault: Callable[[str, str], ConfigError]) -> None:
    try:
        VapidKey.read(config.push_key)
    except VapidError as error:
        raise fault("push_key", str(error)) from None
    except (OSError, ValueError) as error:
        raise fault(
            "push_key", hints.added(f"cannot be read: {reason_of(error)}", hints.path(config.push_key))
        ) from None
    if config.push_ca and not _is(Path.is_file, config.push_ca):
        raise fault("push_ca", hints.added("is not a file", hints.path(config.push_ca)))


def _check_api(config: Config, fault: Callable[[str, str], ConfigError]) -> None:
    """That the API has keys."""
    if bool(config.api_listen) is not bool(config.api_keys):
        given, missing = ("api_listen", "api_keys") if config.api_listen else ("api_keys", "api_listen")
        raise fault(given, f"needs {missing} too")
    if config.api_keys:
        try:
            ApiKeys.read(config.api_keys)
        except OSError as error:
            raise fault(
                "api_keys", hints.added(f"cannot be read: {reason_of(error)}", hints.path(config.api_keys))
            ) from None
        except ValueError as error:
            raise fault("api_keys", f"cannot be used: {error}") from None


def _check_hooks(config: Config, backends: Backends, fault: Callable[[str, str], ConfigError]) -> None:
    """That what is sent to a back end is signed, and has a place to go to; that events have a store to come from."""
    for name in ("ask_url", "hooks_url"):
        if not getattr(config, name):
            continue
        try:
            check_hook_url(getattr(config, name))
        except ValueError as error:
            raise fault(name, str(error)) from None
        if not config.hooks_secret_file:
            raise fault(name, "needs hooks_secret_file too, by which your back end knows the daemon")
    if config.hooks_url and not backends.store(config.store)[0].keeps:
        raise fault("hooks_url", "needs a store that keeps messages: in relay mode events have nothing to be made from")
    for name in ("hooks_url", "push_key"):
        if getattr(config, name) and not backends.store(config.store)[0].hooks:
            raise fault(name, "can't be used with this store: use sqlite:PATH, redis or postgresql://…")
    for name in ("hooks_secret_file", "hooks_ca"):
        if getattr(config, name) and not (config.ask_url or config.hooks_url):
            raise fault(name, "is of no use without ask_url or hooks_url")
    if config.hooks_ca and not _is(Path.is_file, config.hooks_ca):
        raise fault("hooks_ca", hints.added("is not a file", hints.path(config.hooks_ca)))
    if config.hooks_secret_file:
        try:
            read_secrets(config.hooks_secret_file)
        except SecretError as error:
            raise fault("hooks_secret_file", f"cannot be used: {error}") from None
        except (OSError, ValueError) as error:  # a path that holds a NUL is a ValueError
            hint = hints.path(config.hooks_secret_file)
            raise fault("hooks_secret_file", hints.added(f"cannot be read: {reason_of(error)}", hint)) from None


def _check_origins(name: str, origins: tuple[str, ...], fault: Callable[[str, str], ConfigError]) -> None:
    """That each can be a page's."""
    for origin in origins:
        try:
            Origins((origin,))
        except OriginError as error:
            meant = hints.origin(origin)
            hint = meant if _may_be_origin(meant.removeprefix("write ")) else f"write {error.instead}"
            raise fault(name, f"holds {origin!r}, which {error.reason}: {hint}") from None


def _check_frame_ancestors(origins: tuple[str, ...], fault: Callable[[str, str], ConfigError]) -> None:
    """That each can stand in a policy, in which host names are ASCII."""
    for origin in origins:
        if origin.lower() == OPAQUE:
            reason = "which no frame can be allowed by: write the origin of its page"
            raise fault("frame_ancestors", f"holds {origin!r}, {reason}")
        if not origin.isascii():
            scheme, mark, host = origin.partition("://*.")
            named = str(Origin.of(f"{scheme}://{host}" if mark else origin))
            written = named.replace("://", "://*.", 1) if mark else named
            raise fault("frame_ancestors", f"holds {origin!r}, which is not written as browsers do: write {written}")


def _may_be_origin(text: str) -> bool:
    try:
        Origins((text,))
    except OriginError:
        return False
    return True


def _check_endpoint(name: str, text: str, fault: Callable[[str, str], ConfigError]) -> None:
    """That it may be a Twisted endpoint; whether Twisted can use it is seen at the start."""
    if not text and name != "listen":
        return
    if not text.strip():
        raise fault(name, "is empty: give a Twisted endpoint, such as tcp:3000")
    hint = hints.endpoint(text)
    if hint and hint != f"write {text}":
        raise fault(name, f"is not an endpoint that Twisted can use: {hint}")
    port = _port(text)
    if port is not None and not (port.isascii() and port.strip().isdigit() and int(port) < 65536):
        number = port.isascii() and port.lstrip("-").isdigit()
        reason = "a port is a number from 0 to 65535" if number else f"its port is no number ({port!r})"
        meant = hints.number(port, "", True).removeprefix("write ")
        hint = ""
        if not number and meant.isdigit() and int(meant) < 65536:
            mended = text.replace(port, meant, 1)
            hint = hints.tls_endpoint(mended) or f"write {mended}"
        raise fault(name, hints.added(f"is not an endpoint that Twisted can use: {reason}", hint))
    if text.partition(":")[0] in ("tcp", "tcp6", "unix") and (reason := unreadable(text)):
        raise fault(name, f"is not an endpoint that Twisted can use: {reason}")


def _port(endpoint: str) -> str | None:
    """What stands where the port of ``tcp:``, ``tcp6:`` and ``ssl:`` belongs; None where nothing does."""
    kind, *arguments = re.split(r"(?<!\\):", endpoint.removeprefix("haproxy:"))
    if kind not in ("tcp", "tcp6", "ssl"):
        return None
    named = [argument[5:] for argument in arguments if argument.startswith("port=")]
    unnamed = [argument for argument in arguments if "=" not in argument]
    return (named or unnamed or [None])[0]


def _is(kind: Callable[[Path], bool], path: str) -> bool:
    try:
        return kind(Path(path))
    except ValueError:  # it holds a NUL
        return False


def _check_backends(config: Config, backends: Backends, fault: Callable[[str, str], ConfigError]) -> None:
    """That router and store together keep what they promise."""
    try:
        kind, argument = backends.store(config.store)
    except UnknownStore as error:
        raise fault("store", hints.added(str(error), hints.store(config.store, backends.examples))) from None
    try:
        kind.check(argument)
    except ValueError as error:
        raise fault("store", str(error)) from None
    for name, reason in kind.needs.items():
        if not getattr(config, name):
            raise fault("store", reason)
    if config.amqp and not kind.shared:
        raise fault(
            "amqp",
            "cannot be used with a store that other daemons cannot read: give the store redis (and redis) or "
            "postgresql://…, or none (relay mode, as the tutorial's server: at most once), or leave amqp out",
        )
    if config.amqp and kind.keeps and not (config.redis or config.redis_pub):
        raise fault(
            "amqp",
            "needs Redis as the bus, by which daemons tell each other of edits and presence: give redis too, such as "
            "redis://localhost:6379/0",
        )
    if config.amqp:
        _check_amqp(config.amqp, fault)
    # Less than half of a routing key's 255 bytes; see ``backends.amqp.keys`` for ids that do not fit into the rest.
    if len(config.amqp_prefix.encode()) > 100:
        raise fault("amqp_prefix", "is longer than 100 bytes, which leaves no room for ids in a routing key")
    if not 0 < len(config.amqp_exchange.encode()) <= 100:
        raise fault("amqp_exchange", "is empty, or longer than 100 bytes")
    for name in ("redis", "redis_pub", "redis_sub"):
        url = getattr(config, name)
        if url and not config.amqp:
            raise fault(
                name, "needs RabbitMQ too, which carries the messages between daemons: give amqp, or leave it out"
            )
        if url:
            _check_redis(name, url, fault)
    for name, other in (("redis_pub", "redis_sub"), ("redis_sub", "redis_pub")):
        if getattr(config, name) and not getattr(config, other) and not config.redis:
            raise fault(name, f"needs {other} too, or redis")
    if not 0 < len(config.redis_prefix.encode()) <= 100:
        raise fault("redis_prefix", "is empty, or longer than 100 bytes")
    if config.redis_wait_disk and not config.redis_wait:
        raise fault("redis_wait_disk", "is of no use without redis_wait")
    for name in ("amqp_ca", "amqp_cert", "amqp_key", "redis_ca", "redis_cert", "redis_key"):
        file = getattr(config, name)
        if file and not _is(Path.is_file, file):
            raise fault(name, hints.added("is not a file", hints.path(file)))


def _check_amqp(url: str, fault: Callable[[str, str], ConfigError]) -> None:
    """That pika reads the URL as it was meant."""
    if url.partition("://")[0] not in ("amqp", "amqps"):
        hint = hints.url(url, ("amqp", "amqps"), "amqp://guest:guest@localhost:5672/")
        raise fault("amqp", f"is not like amqp://user:password@host:5672/vhost: {hint}")
    try:
        amqp.check_url(url)
    except ValueError as error:
        raise fault("amqp", f"can't be read: {error}") from None


def _check_redis(name: str, url: str, fault: Callable[[str, str], ConfigError]) -> None:
    """That the URL is one of Redis."""
    if url.partition("://")[0].removesuffix("+sentinel") not in ("redis", "rediss"):
        schemes = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")
        hint = hints.url(url, schemes, "redis://localhost:6379/0")
        raise fault(name, f"is not like redis://user:password@host:6379/0: {hint}")
    try:
        redis.check_url(url)
    except ValueError as error:
        raise fault(name, f"can't be read: {error}") from None


def control_path(control: str, store: str) -> str | None:
    """The path of the control socket, as two settings have it; None if there is none."""
    if control:
        return os.path.abspath(control)
    kind, _, path = store.partition(":")
    return f"{os.path.realpath(path)}.control" if kind == "sqlite" and path else None


def peer_place(config: Config) -> tuple[str, int] | None:
    """Host and port at which other daemons reach this one; None where they don't, or it can't be told."""
    found = PEER_URL.fullmatch(config.peer_url) if config.peer_url else PEER_LISTEN.fullmatch(config.peer_listen)
    if found is None:
        return None
    host, port = found["host"].strip("[]").replace("\\:", ":"), int(found["port"])
    return (host, port) if 0 < port < 65536 and host not in ("0.0.0.0", "::") else None


def _check_peers(config: Config, fault: Callable[[str, str], ConfigError]) -> None:
    """That other daemons can find this one, and know it."""
    if not config.peer_listen:
        for name in ("peer_url", "peer_secret"):
            if getattr(config, name):
                raise fault(name, "is of no use without peer_listen")
        return
    if peer_place(config) is None:
        if config.peer_url:
            hint = hints.url(config.peer_url, ("http",), "http://10.0.0.3:3001")
            if hint.rstrip("/") == f"write {config.peer_url.rstrip('/')}":
                hint = "give its port too"
            raise fault("peer_url", f"is not like http://10.0.0.3:3001: {hint}")
        raise fault("peer_listen", "has no interface and port at which other daemons can reach it: give peer_url too")
    if config.peer_secret:
        if len(config.peer_secret.encode()) < 32:
            raise fault("peer_secret", "is shorter than 32 bytes")
    elif not (config.secret or config.secret_file or config.demo):
        raise fault("peer_listen", "needs a secret that the daemons share: give peer_secret too")


def _check_keys(
    config: Config,
    settings: Mapping[str, Setting],
    given: Mapping[str, Given],
    fault: Callable[[str, str], ConfigError],
) -> None:
    """That there is one key, readable and fit for the algorithms; in a demo none, and no way in from other machines."""
    named = [name for name in KEYS if getattr(config, name)]
    if config.demo:
        if named:
            raise fault(
                named[0],
                "cannot be used with demo, which gives tokens to anyone: leave out one of the two",
            )
        if not _is_loopback(config.listen):
            raise fault(
                "listen",
                "cannot be used with demo, which serves its own machine only: leave it out, or add "
                ":interface=127.0.0.1",
            )
        return
    if not named:
        raise ConfigError(
            "there is no key to verify tokens with: give a secret of 32 bytes or more by the environment variable "
            "KSCHAT_SECRET, or a file that holds one by --secret-file FILE (or try it out on this machine with --demo)"
        )
    if len(named) > 1:
        raise fault(named[1], f"cannot go with {named[0]} (from {given[named[0]].origin}): name one key")
    try:
        one_family(config.algorithms)
    except KeysError as error:
        raise fault("algorithms", f"cannot be used: {error}") from None
    name, there = named[0], given[named[0]]
    if name == "jwks_url":
        _check_jwks_url(config, settings["algorithms"], there, fault)
        return
    if config.jwks_ca:
        raise fault("jwks_ca", "is of no use without jwks_url")
    try:
        read_keys(config)
    except KeysError as error:
        hint = _key_hint(config, name, settings["algorithms"], there, given["algorithms"].origin)
        algorithms = f"algorithms {', '.join(config.algorithms)} from {given['algorithms'].origin}"
        raise fault(name, hints.added(f"cannot be used with {algorithms}: {error}", hint)) from None
    except (OSError, ValueError) as error:  # a path that holds a NUL is a ValueError
        hint = hints.path(getattr(config, name))
        raise fault(name, hints.added(f"cannot be read: {reason_of(error)}", hint)) from None


def _check_jwks_url(
    config: Config, algorithms: Setting, there: Given, fault: Callable[[str, str], ConfigError]
) -> None:
    """That nobody on the way can change the keys, and that they are public ones."""
    try:
        jwks.check_url(config.jwks_url)
    except ValueError as error:
        raise fault("jwks_url", str(error)) from None
    if set(config.algorithms) & set(HMAC):
        raise fault(
            "jwks_url",
            f"cannot be used with the algorithm {config.algorithms[0]}, whose key is a secret: add "
            f"{there.spelled(algorithms, 'RS256')}, or the algorithm that the issuer signs with",
        )
    if config.jwks_ca and not _is(Path.is_file, config.jwks_ca):
        raise fault("jwks_ca", hints.added("is not a file", hints.path(config.jwks_ca)))


def _key_hint(config: Config, name: str, algorithms: Setting, there: Given, origin: str) -> str:
    """How a key that cannot be used with the algorithms was probably meant."""
    fit = usable_algorithms(config)
    if fit and not set(fit) & set(config.algorithms):
        if origin == DEFAULTS:
            return f"add {there.spelled(algorithms, fit[0])}"
        return f"give {there.spelled(algorithms, fit[0])} instead"
    if name != "secret" and config.secret_file + config.public_key_file + config.jwks_file:
        return _file_hint(name, Path(getattr(config, name)).read_bytes())
    return ""


def _file_hint(name: str, content: bytes) -> str:
    """What a key file holds in place of what its setting wants."""
    start = content.lstrip()[:4096]
    if start.startswith(b"{") and b'"keys"' in content and name != "jwks_file":
        return "it is a JWK Set: give it by jwks_file"
    if b"BEGIN CERTIFICATE" in start:
        return "it is a certificate: openssl x509 -in FILE -noout -pubkey prints its public key"
    if b"PRIVATE KEY-----" in start:
        return "openssl pkey -in FILE -pubout prints the public key"
    if b"BEGIN PUBLIC KEY" in start and name != "public_key_file":
        return "it is a public key: give it by public_key_file, and its algorithm by algorithms"
    if start.startswith((b"ssh-", b"ecdsa-")):
        return "it is OpenSSH's kind of key: ssh-keygen -e -m PKCS8 -f FILE prints it as PEM"
    return ""


def _is_loopback(listen: str) -> bool:
    """Whether only this machine can reach the endpoint, as far as its text tells."""
    kind, *arguments = (part.replace("\\", "") for part in re.split(r"(?<!\\):", listen))
    if kind == "unix":
        return True
    positional = [part for part in arguments if "=" not in part]
    named = dict(part.split("=", 1) for part in arguments if "=" in part)
    # Only of tcp and tcp6 is the second argument the interface (of ssl it is a file).
    interface = named.get("interface", positional[1] if kind.startswith("tcp") and len(positional) > 1 else "")
    if interface == "localhost":
        return True
    try:
        return kind in ("tcp", "tcp6", "ssl") and ipaddress.ip_address(interface).is_loopback
    except ValueError:
        return False
