"""One frozen ``Config`` from defaults < TOML file < environment < command line, or one sentence on why not.

The fields of ``Config`` are the settings: what stands there makes the options of twistd, the validation, the masking
and the table in the documentation. Nothing here opens a socket; the files that settings name are only looked at.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from kschat.chat.keys import ASYMMETRIC, HMAC, Keys, KeysError, one_family
from kschat.settings import About, Setting, settings_of
from kschat.sources import DEFAULTS, FROM_PORT, ConfigError, Given, gather, reason_of

__all__ = [
    "SETTINGS",
    "Config",
    "ConfigError",
    "describe",
    "load",
    "peer_place",
    "read_keys",
    "read_secret",
    "settings_table",
]

#: The settings that name the key tokens are verified with, of which there is exactly one.
KEYS = ("secret", "secret_file", "public_key_file", "jwks_file")

PEER_URL = re.compile(r"http://(?P<host>\[[0-9a-fA-F:.]+\]|[\w.-]{1,100}):(?P<port>\d{1,5})/?", re.ASCII)

PEER_LISTEN = re.compile(r"tcp6?:(?:port=)?(?P<port>\d{1,5})(?::.*)?:interface=(?P<host>(?:[\w.-]|\\:){1,100})(?::.*)?")

ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^\s/?#@]+")


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting. Times are seconds (fractions allowed), sizes bytes. Made by ``load``, which alone checks it."""

    listen: Annotated[
        str,
        About(
            "Where to listen: a Twisted endpoint string, such as `tcp:3000`, `tcp:3000:interface=127.0.0.1`, `ssl:…`, "
            "`unix:…`, `systemd:…`. The variable PORT makes it `tcp:$PORT`, unless it is set by KSCHAT_LISTEN or "
            "--listen. In a demo its default is on 127.0.0.1."
        ),
    ] = "tcp:3000"
    demo: Annotated[
        bool,
        About(
            "Try it out on this machine: a secret made anew at each start, and the page gives a token to whoever asks. "
            "Refused with an address that other machines can reach, and together with a key."
        ),
    ] = False
    secret: Annotated[
        str,
        About(
            "The secret shared with whoever issues tokens (HS256: 32 bytes or more). Prefer `secret_file` or the "
            "environment: others on the machine can read a command line.",
            masked=True,
        ),
    ] = ""
    secret_file: Annotated[str, About("File that holds the secret; a newline at its end is left out.")] = ""
    public_key_file: Annotated[str, About("File with a PEM public key, for RS256, ES256, EdDSA and their kin.")] = ""
    jwks_file: Annotated[str, About("File with a JSON Web Key Set: several keys at once, chosen by `kid`.")] = ""
    algorithms: Annotated[
        tuple[str, ...],
        About(
            "The algorithms a token may be signed with; those with a shared secret (HS…) and those with a public key "
            "are never mixed.",
            choices=HMAC + ASYMMETRIC,
        ),
    ] = ("HS256",)
    token_leeway: Annotated[
        float, About("How long a token is still taken after its end, for clocks that differ.", "seconds", 0, 3600)
    ] = 0.0
    store: Annotated[
        str,
        About(
            "Where messages are kept: `sqlite:PATH`, a file (with `-wal`, `-shm` and `.lock` beside it), made if it is "
            "not there, for one daemon; `redis`, for any number of daemons (needs `redis` and `amqp`); `memory`, from "
            "where they are gone with the process; or `none`: relay mode (see `amqp`), in which nothing is kept. In a "
            "demo its default is `memory`."
        ),
    ] = "sqlite:kschat.db"
    store_sync: Annotated[
        str,
        About(
            "`full`: a message is acknowledged once it is on the disk. `normal`: once the system has it; what was "
            "acknowledged survives a crash of the daemon, but the last seconds may be lost when the machine crashes or "
            "loses power. Of the SQLite store.",
            choices=("full", "normal"),
        ),
    ] = "full"
    retention_days: Annotated[
        float,
        About("Messages older than this are deleted; 0 for none. Of the SQLite and the Redis store.", "days", 0, 36500),
    ] = 0.0
    retention_messages: Annotated[
        int,
        About(
            "The newest messages that are kept in each inbox, and in each conversation; older ones are deleted, "
            "undelivered ones too. 0 for no bound. Of the SQLite and the Redis store.",
            "messages",
            0,
            10**9,
        ),
    ] = 0
    amqp: Annotated[
        str,
        About(
            "RabbitMQ, which carries messages between daemons: `amqp://user:password@host:5672/vhost?heartbeat=60`, or "
            "`amqps://…`. Needs the store `redis` or `none`. Empty: this daemon is alone.",
            masked=True,
        ),
    ] = ""
    amqp_exchange: Annotated[str, About("The exchange that messages go through.")] = "direct_logs"
    amqp_exchange_type: Annotated[str, About("Its type.", choices=("direct", "topic", "fanout", "headers"))] = "direct"
    amqp_durable: Annotated[bool, About("Whether the exchange outlives a restart of the broker.")] = False
    amqp_prefix: Annotated[str, About("What routing keys begin with; the user's id follows.")] = "ks_"
    amqp_queue: Annotated[
        str,
        About(
            "`daemon`: one queue for each daemon, with a binding for each user there. `connection`: one for each "
            "socket, as the tutorial's server has it.",
            choices=("daemon", "connection"),
        ),
    ] = "daemon"
    amqp_format: Annotated[
        str,
        About(
            "What is published: `kschat`, batches; or `tutorial`, a message at a time in the tutorial's JSON, which "
            "its Node server understands. Both are understood.",
            choices=("kschat", "tutorial"),
        ),
    ] = "kschat"
    amqp_ca: Annotated[
        str, About("File with the PEM certificates that RabbitMQ's is trusted by, not the system's.")
    ] = ""
    amqp_cert: Annotated[
        str, About("File with this daemon's PEM certificate for RabbitMQ, its key in it or in `amqp_key`.")
    ] = ""
    amqp_key: Annotated[str, About("File with the PEM key of `amqp_cert`.")] = ""
    redis: Annotated[
        str,
        About(
            "Redis, which keeps messages (see `store`), and by which daemons know of each other: "
            "`redis://user:password@host:6379/0`; by TLS `rediss://…`; where Sentinels know the master, "
            "`redis+sentinel://user:password@host:26379,host:26379/service/0` (or `rediss+sentinel://…`). Needs "
            "`amqp`.",
            masked=True,
        ),
    ] = ""
    redis_pub: Annotated[
        str, About("The Redis to publish to, where it is not that of `redis`. A URL as there.", masked=True)
    ] = ""
    redis_sub: Annotated[
        str, About("The Redis to subscribe at, where it is not that of `redis`. A URL as there.", masked=True)
    ] = ""
    redis_prefix: Annotated[
        str,
        About(
            "What the names of keys and channels in Redis begin with: another one for each cluster on a server, since "
            "channels belong to no database."
        ),
    ] = "ks"
    redis_ca: Annotated[str, About("File with the PEM certificates that Redis's is trusted by, not the system's.")] = ""
    redis_cert: Annotated[
        str, About("File with this daemon's PEM certificate for Redis, its key in it or in `redis_key`.")
    ] = ""
    redis_key: Annotated[str, About("File with the PEM key of `redis_cert`.")] = ""
    ping_interval: Annotated[float, About("How often a connection is probed.", "seconds", 0.001, 86400)] = 25.0
    ping_timeout: Annotated[
        float,
        About("How long the answer to a probe may take before the connection is closed.", "seconds", 0.001, 86400),
    ] = 20.0
    max_payload: Annotated[int, About("Largest packet taken from a client.", "bytes", 100, 2**30)] = 1_000_000
    max_connections: Annotated[int, About("Connections at once; more are refused.", "connections", 1, 2**24)] = 10_000
    max_polls: Annotated[
        int,
        About(
            "Sessions on long-polling at once; more are refused. Between requests such a session has no connection.",
            "sessions",
            1,
            2**24,
        ),
    ] = 10_000
    upgrade_timeout: Annotated[
        float,
        About("How long a session may take to change from long-polling to WebSocket.", "seconds", 0.001, 86400),
    ] = 10.0
    peer_listen: Annotated[
        str,
        About(
            "Where other daemons hand requests on to this one: a Twisted endpoint such as "
            "`tcp:3001:interface=10.0.0.3`, which only they can reach. Empty: a proxy before several daemons has to "
            "send all requests of a client that polls to the same daemon."
        ),
    ] = ""
    peer_url: Annotated[
        str,
        About(
            "Where they reach that, such as `http://10.0.0.3:3001`. Empty: at the interface and port of `peer_listen`."
        ),
    ] = ""
    peer_secret: Annotated[
        str,
        About(
            "A secret that the daemons share, of 32 bytes or more. Empty: one that is made from the tokens' secret.",
            masked=True,
        ),
    ] = ""
    max_forwards: Annotated[
        int, About("Requests and WebSockets that are handed on to other daemons at once.", "connections", 1, 2**24)
    ] = 5000
    handshake_timeout: Annotated[
        float, About("How long the HTTP and WebSocket handshake may take.", "seconds", 0.001, 86400)
    ] = 10.0
    connect_timeout: Annotated[
        float,
        About(
            "How long a connection may stay without having joined a namespace that serves something.",
            "seconds",
            0.001,
            86400,
        ),
    ] = 45.0
    max_header: Annotated[int, About("Largest HTTP request line and headers together.", "bytes", 1024, 2**20)] = 16_384
    max_unsent: Annotated[
        int,
        About(
            "What may wait to be sent to a slow reader before it is closed; at least twice `max_payload`.",
            "bytes",
            200,
            2**32,
        ),
    ] = 4_000_000
    max_attachments: Annotated[
        int,
        About("Binary attachments of one packet; npm's clients of version 4 take no more.", "attachments", 0, 1000),
    ] = 10
    max_depth: Annotated[int, About("How deep arrays and objects may be nested.", "levels", 4, 512)] = 64
    max_namespaces: Annotated[int, About("Namespaces on one connection, `/` among them.", "namespaces", 2, 1000)] = 8
    max_event_name: Annotated[int, About("Longest name of an event, as JSON.", "bytes", 16, 10_000)] = 128
    max_batch: Annotated[
        int, About("Messages that are stored and published together at the most.", "messages", 1, 100_000)
    ] = 500
    max_in_flight: Annotated[
        int, About("Batches on their way to the store and the router at once.", "batches", 1, 10_000)
    ] = 8
    max_waiting: Annotated[
        int, About("Messages that wait for a batch; beyond it a Send is refused (ER 8).", "messages", 1, 10**7)
    ] = 10_000
    max_room: Annotated[int, About("Members of a room.", "members", 1, 100_000)] = 1000
    store_messages: Annotated[
        int, About("Messages that the memory store keeps; the oldest give way.", "messages", 1, 10**9)
    ] = 100_000
    store_bytes: Annotated[
        int, About("Bytes of messages that the memory store keeps; at least `max_payload`.", "bytes", 100, 2**50)
    ] = 256 * 2**20
    origins: Annotated[
        tuple[str, ...],
        About("Origins (`scheme://host[:port]`) whose pages may connect beside the daemon's own, or `*` for all."),
    ] = ("*",)
    templates: Annotated[str, About("Directory of the page's templates, instead of the shipped one.")] = ""
    static: Annotated[str, About("Directory of the page's static files, instead of the shipped one.")] = ""
    client_dist: Annotated[
        str,
        About(
            "Directory with the build of npm's socket.io-client, to serve at `/socket.io/socket.io.js`. Empty: "
            "`node_modules/socket.io-client/dist` of the working directory, if it is there."
        ),
    ] = ""
    deflate: Annotated[
        bool,
        About(
            "Whether WebSocket messages are compressed where a client offers it (permessage-deflate). It spares bytes "
            "on the network, and costs much more of the processor."
        ),
    ] = False
    deflate_from: Annotated[
        int,
        About("Messages of fewer bytes are sent as they are: they gain little by compression.", "bytes", 0, 2**30),
    ] = 256
    metrics: Annotated[
        bool,
        About(
            "Serve `/metrics`, for Prometheus, on the same port. It holds counts and no names; a proxy should not pass "
            "it on to the world all the same."
        ),
    ] = True
    access_log: Annotated[bool, About("Log every HTTP request, its token left out.")] = True

    def __repr__(self) -> str:
        # The struct's own would put the secret into any log line or traceback that shows a Config.
        return f"Config({', '.join(f'{name}={SETTINGS[name].to_toml(getattr(self, name))}' for name in SETTINGS)})"


SETTINGS: Mapping[str, Setting] = settings_of(Config)


def load(argv_values: Mapping[str, str], environ: Mapping[str, str]) -> Config:
    """The configuration that the command line and the environment make.

    ``argv_values`` holds the text of each option that was given, by the name of its setting, and ``config`` (else
    ``KSCHAT_CONFIG``) names a TOML file. Raises ``ConfigError``.
    """
    given = gather(SETTINGS, argv_values, environ)
    if given["demo"].value and given["listen"].origin in (DEFAULTS, FROM_PORT):
        there = given["listen"]
        given["listen"] = Given(f"{there.value}:interface=127.0.0.1", there.origin)
    if given["demo"].value and given["store"].origin == DEFAULTS:
        given["store"] = Given("memory", DEFAULTS)
    config = Config(**{name: there.value for name, there in given.items()})  # type: ignore[arg-type]
    _check_relations(config, given)
    return config


def read_secret(config: Config) -> bytes | None:
    """The shared secret, read from its file where it is in one; None without. Raises OSError."""
    if config.secret:
        return config.secret.encode("utf-8", "surrogateescape")
    return Path(config.secret_file).read_bytes().rstrip(b"\r\n") if config.secret_file else None


def read_keys(config: Config) -> Keys:
    """What tokens are verified with, from whichever setting names it; parsed, and fit for the algorithms.

    Raises OSError if a file cannot be read, and ``KeysError`` if what it holds cannot be used; neither is to be
    expected after ``load``, which has looked at the same files.
    """
    secret = read_secret(config)
    if secret is not None:
        keys = Keys.from_secret(secret)
    elif config.public_key_file:
        keys = Keys.from_pem(Path(config.public_key_file).read_bytes())
    else:
        keys = Keys.from_jwks(Path(config.jwks_file).read_bytes())
    for algorithm in config.algorithms:
        keys.usable_with(algorithm)
    return keys


def describe(config: Config) -> str:
    """The effective configuration as a TOML file, secrets masked."""
    return "".join(f"{name} = {setting.to_toml(getattr(config, name))}\n" for name, setting in SETTINGS.items())


def settings_table() -> str:
    """All settings as a table in Markdown, for the documentation."""
    lines = ["| setting | default | takes | meaning |", "| --- | --- | --- | --- |"]
    for name, setting in SETTINGS.items():
        cells = (f"`{name}`", f"`{setting.to_toml(setting.default)}`", setting.span(), setting.about.doc)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _check_relations(config: Config, given: Mapping[str, Given]) -> None:
    """What no setting can know alone. Raises ``ConfigError``."""

    def fault(name: str, reason: str) -> ConfigError:
        return given[name].fault(SETTINGS[name], reason)

    def named(name: str) -> str:
        return f"{name} ({getattr(config, name)} from {given[name].origin})"

    if not config.listen.strip():
        raise fault("listen", "is empty: give a Twisted endpoint, such as tcp:3000")
    _check_backends(config, fault)
    _check_peers(config, fault)
    if config.max_unsent < 2 * config.max_payload:
        raise fault("max_unsent", f"is less than twice {named('max_payload')}")
    if config.store_bytes < config.max_payload:
        raise fault("store_bytes", f"is less than {named('max_payload')}")
    for origin in config.origins:
        if not ORIGIN.fullmatch(origin):
            raise fault("origins", f"holds {origin!r}, which is neither * nor like https://chat.example.org")
    for name in ("templates", "static", "client_dist"):
        directory = getattr(config, name)
        if directory and not Path(directory).is_dir():
            raise fault(name, "is not a directory")
    _check_keys(config, given, fault)


def _check_backends(config: Config, fault: Callable[[str, str], ConfigError]) -> None:
    """That router and store together keep what they promise."""
    kind, _, path = config.store.partition(":")
    if config.store not in ("memory", "redis", "none") and (kind != "sqlite" or not path or "\0" in path):
        raise fault("store", "is none of memory, redis and none, nor like sqlite:kschat.db")
    if config.store == "redis" and not config.redis:
        raise fault("store", "needs to know where Redis is: give redis too, such as redis://localhost:6379/0")
    if config.store == "redis" and not config.amqp:
        raise fault(
            "store",
            "needs RabbitMQ: without it users on other daemons would hear nothing of their messages; give amqp "
            "too, such as amqp://guest:guest@localhost:5672/ (one daemon alone is best off with sqlite:kschat.db)",
        )
    if config.store == "none" and not config.amqp:
        raise fault("store", "needs RabbitMQ: give amqp too, such as amqp://guest:guest@localhost:5672/")
    if config.amqp and config.store not in ("redis", "none"):
        raise fault(
            "amqp",
            "cannot go with a store that other daemons cannot read: give the store redis (and redis), or none (relay "
            "mode, as the tutorial's server: at most once), or leave amqp out",
        )
    if config.amqp:
        if config.amqp.partition("://")[0] not in ("amqp", "amqps"):
            raise fault("amqp", "is not like amqp://user:password@host:5672/vhost")
        # Half of a routing key's 255 bytes.
        if len(config.amqp_prefix.encode()) > 100:
            raise fault("amqp_prefix", "is longer than 100 bytes")
    for name in ("redis", "redis_pub", "redis_sub"):
        url = getattr(config, name)
        if url and not config.amqp:
            raise fault(
                name, "needs RabbitMQ too, which carries the messages between daemons: give amqp, or leave it out"
            )
        if url and url.partition("://")[0].removesuffix("+sentinel") not in ("redis", "rediss"):
            raise fault(name, "is not like redis://user:password@host:6379/0")
    for name, other in (("redis_pub", "redis_sub"), ("redis_sub", "redis_pub")):
        if getattr(config, name) and not getattr(config, other) and not config.redis:
            raise fault(name, f"needs {other} too, or redis")
    if not 0 < len(config.redis_prefix.encode()) <= 100:
        raise fault("redis_prefix", "is empty, or longer than 100 bytes")
    for name in ("amqp_ca", "amqp_cert", "amqp_key", "redis_ca", "redis_cert", "redis_key"):
        file = getattr(config, name)
        if file and not Path(file).is_file():
            raise fault(name, "is not a file")


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
            raise fault("peer_url", "is not like http://10.0.0.3:3001")
        raise fault("peer_listen", "has no interface and port that tell other daemons where it is: give peer_url too")
    if config.peer_secret:
        if len(config.peer_secret.encode()) < 32:
            raise fault("peer_secret", "is shorter than 32 bytes")
    elif not (config.secret or config.secret_file or config.demo):
        raise fault("peer_listen", "needs a secret that the daemons share: give peer_secret too")


def _check_keys(config: Config, given: Mapping[str, Given], fault: Callable[[str, str], ConfigError]) -> None:
    """That there is one key, readable and fit for the algorithms; in a demo none, and no way in from other machines."""
    named = [name for name in KEYS if getattr(config, name)]
    if config.demo:
        if named:
            raise fault(
                named[0],
                "cannot go with demo, which gives tokens to whoever asks: leave out one of the two",
            )
        if not _is_loopback(config.listen):
            raise fault(
                "listen",
                "cannot go with demo, which serves its own machine only: leave it out, or add :interface=127.0.0.1",
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
    try:
        read_keys(config)
    except KeysError as error:
        algorithms = f"algorithms {', '.join(config.algorithms)} from {given['algorithms'].origin}"
        raise fault(named[0], f"cannot be used with {algorithms}: {error}") from None
    except (OSError, ValueError) as error:  # a path that holds a NUL is a ValueError
        raise fault(named[0], f"cannot be read: {reason_of(error)}") from None


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
