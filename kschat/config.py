"""One frozen ``Config`` from defaults < TOML file < environment < command line, or one sentence on why not.

The fields of ``Config`` are the settings: what stands there makes the options of twistd, the validation, the masking
and the table in the documentation. Nothing here opens a socket; the files that settings name are only looked at.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from kschat.settings import MASK, About, Setting, settings_of
from kschat.sources import DEFAULTS, FROM_PORT, ConfigError, Given, gather, reason_of

__all__ = ["SETTINGS", "Config", "ConfigError", "Key", "describe", "load", "read_key", "settings_table"]

HMAC = ("HS256", "HS384", "HS512")
ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")

#: The settings that name the key tokens are verified with, of which there is exactly one.
KEYS = ("secret", "secret_file", "public_key_file", "jwks_file")

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
    store: Annotated[str, About("Where messages are kept. This version knows memory only.", choices=("memory",))] = (
        "memory"
    )
    ping_interval: Annotated[float, About("How often a connection is probed.", "seconds", 0.001, 86400)] = 25.0
    ping_timeout: Annotated[
        float,
        About("How long the answer to a probe may take before the connection is closed.", "seconds", 0.001, 86400),
    ] = 20.0
    max_payload: Annotated[int, About("Largest packet taken from a client.", "bytes", 100, 2**30)] = 1_000_000
    max_connections: Annotated[int, About("Connections at once; more are refused.", "connections", 1, 2**24)] = 10_000
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
    max_attachments: Annotated[int, About("Binary attachments of one packet.", "attachments", 0, 1000)] = 16
    max_depth: Annotated[int, About("How deep arrays and objects may be nested.", "levels", 4, 512)] = 64
    max_namespaces: Annotated[int, About("Namespaces on one connection, `/` among them.", "namespaces", 2, 1000)] = 8
    max_event_name: Annotated[int, About("Longest name of an event.", "characters", 16, 10_000)] = 128
    max_batch: Annotated[
        int, About("Messages that are stored and published together at the most.", "messages", 1, 100_000)
    ] = 500
    max_in_flight: Annotated[
        int, About("Batches on their way to the store and the router at once.", "batches", 1, 10_000)
    ] = 8
    max_waiting: Annotated[
        int, About("Messages that wait for a batch; beyond it a Send is refused (ER 8).", "messages", 1, 10**7)
    ] = 10_000
    store_messages: Annotated[
        int, About("Messages that the memory store keeps; the oldest give way.", "messages", 1, 10**9)
    ] = 100_000
    store_bytes: Annotated[
        int, About("Bytes of messages that the memory store keeps; at least `max_payload`.", "bytes", 100, 2**50)
    ] = 256 * 2**20
    origins: Annotated[
        tuple[str, ...],
        About("Origins (`scheme://host[:port]`) whose pages may connect, or `*` for all."),
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
    access_log: Annotated[bool, About("Log every HTTP request, its token left out.")] = True

    def __repr__(self) -> str:
        # The struct's own would put the secret into any log line or traceback that shows a Config.
        return f"Config({', '.join(f'{name}={SETTINGS[name].to_toml(getattr(self, name))}' for name in SETTINGS)})"


SETTINGS: Mapping[str, Setting] = settings_of(Config)


class Key(msgspec.Struct, frozen=True):
    """What tokens are verified with, as it was configured and not yet parsed."""

    kind: Literal["secret", "pem", "jwks"]
    data: bytes

    def __repr__(self) -> str:
        return f"Key({self.kind}, {MASK})"


def load(argv_values: Mapping[str, str], environ: Mapping[str, str]) -> Config:
    """The configuration that the command line and the environment make.

    ``argv_values`` holds the text of each option that was given, by the name of its setting, and ``config`` (else
    ``KSCHAT_CONFIG``) names a TOML file. Raises ``ConfigError``.
    """
    given = gather(SETTINGS, argv_values, environ)
    if given["demo"].value and given["listen"].origin in (DEFAULTS, FROM_PORT):
        there = given["listen"]
        given["listen"] = Given(f"{there.value}:interface=127.0.0.1", there.origin)
    config = Config(**{name: there.value for name, there in given.items()})  # type: ignore[arg-type]
    _check_relations(config, given)
    return config


def read_key(config: Config) -> Key | None:
    """The key that ``config`` names, read from its file where it names one; None in a demo, which has none.

    Raises ``ConfigError`` if the file cannot be read.
    """
    if config.secret:
        return Key("secret", config.secret.encode("utf-8", "surrogateescape"))
    kinds: dict[str, Literal["secret", "pem", "jwks"]] = {
        "secret_file": "secret",
        "public_key_file": "pem",
        "jwks_file": "jwks",
    }
    for name, kind in kinds.items():
        path = getattr(config, name)
        if path:
            try:
                data = Path(path).read_bytes()
            except (OSError, ValueError) as error:
                raise ConfigError(f"{name}: {path!r} cannot be read: {reason_of(error)}") from None
            return Key(kind, data.rstrip(b"\r\n") if kind == "secret" else data)
    return None


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
    symmetric = [name for name in config.algorithms if name in HMAC]
    if symmetric and len(symmetric) < len(config.algorithms):
        raise fault("algorithms", "mixes algorithms of a shared secret (HS…) with those of a public key")
    name = named[0]
    key = read_key(config)
    if key is None or not key.data:
        raise fault(name, "is empty")
    if key.kind == "pem" and symmetric:
        raise fault(
            name,
            f"cannot verify {symmetric[0]} (from {given['algorithms'].origin}): set algorithms, to RS256 for instance",
        )
    if key.kind == "secret":
        if not symmetric:
            raise fault(
                name,
                f"cannot verify {config.algorithms[0]} (from {given['algorithms'].origin}), which wants a public key",
            )
        wanted = max(int(algorithm[2:]) // 8 for algorithm in symmetric)
        if len(key.data) < wanted:
            raise fault(name, f"is too short a secret: {max(symmetric)} wants at least {wanted} bytes")


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
