"""The command line of each daemon that ``kschat run`` starts, and the ports that the daemons share.

All accept from one socket, which the parent opens and hands over as systemd would (sd_listen_fds(3)). The ports for
operators and for the other daemons are each daemon's own.
"""

from __future__ import annotations

import re
import secrets
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from kschat.front.backlog import system_backlog, with_backlog
from kschat.front.bindable import endpoint_fault, reason
from kschat.settings import Config, ConfigError

#: The most processes. More processes than cores do not help.
MAX_PROCESSES: Final = 256

#: The port in an endpoint, and in the URL of peers. (An endpoint has ``\:`` for each colon of an IPv6 address.)
_PORT: Final = re.compile(r"(?<![^:])(?<!\\:)((?:port=)?)(\d{1,5})(?=[:/]|$)")


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """The options of ``kschat run``.

    Attributes:
        count: number of processes.
        logfile: the log file; "": standard output.
        arguments: the settings of the command line, as options.
    """

    count: int
    logfile: str = ""
    arguments: tuple[str, ...] = ()

    def command(self, parent: int, *more: str, number: int | None = None) -> list[str]:
        """The command line of a daemon.

        Args:
            parent: see ``kschat.worker``.
            more: further options, which override those of the command line.
            number: of the process; None if it is the only one.
        """
        path = self.logfile
        if path and number is not None:
            path = str(Path(path).with_stem(f"{Path(path).stem}-{number}"))
        twistd = ["-n", "--pidfile=", *([f"--logfile={path}"] if path else [])]
        # -P: no module is imported from the working directory.
        return [
            *(sys.executable, "-P", "-m", "kschat.worker", str(parent)),
            *(*twistd, "kschat", *self.arguments, *more),
        ]


class _Holder:
    """Takes the place of the reactor for an endpoint: opens its socket, and accepts no connection."""

    def __init__(self) -> None:
        self.socket: socket.socket | None = None

    def listenTCP(self, port: int, factory: object, backlog: int = 50, interface: str = "") -> None:
        """As ``IReactorTCP`` has it. Raises CannotListenError."""
        one = socket.socket(socket.AF_INET6 if ":" in interface else socket.AF_INET, socket.SOCK_STREAM)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((interface, port))
            one.listen(backlog)
        except OSError as error:
            one.close()
            raise CannotListenError(interface, port, error) from None
        self._keep(one)

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: object) -> None:
        """As ``IReactorSocket`` has it: systemd has handed over the socket."""
        self._keep(socket.fromfd(fileDescriptor, addressFamily, socket.SOCK_STREAM))

    def _keep(self, one: socket.socket) -> None:
        # Each connection wakes all processes; all but one then find nothing to accept.
        one.setblocking(False)
        self.socket = one


def held(name: str, description: str) -> socket.socket:
    """The listening socket of an endpoint, for all processes.

    Args:
        name: of the setting.
        description: as Twisted has it.

    Raises:
        ConfigError: it cannot be opened, or not be shared.
    """
    holder: Any = _Holder()
    failures: list[Failure] = []
    try:
        endpoint = serverFromString(holder, with_backlog(description, system_backlog()))
        endpoint.listen(Factory()).addErrback(failures.append)
    except AttributeError:
        pass  # it needs another method of the reactor, such as listenUNIX
    except Exception as error:  # noqa: BLE001 - each kind of endpoint raises what it likes
        raise ConfigError(f"{name}: {description!r} cannot be used: {endpoint_fault(error)}") from None
    if failures and failures[0].check(CannotListenError) is not None:
        raise ConfigError(f"{name}: cannot listen at {description}: {reason(failures[0])}")
    if holder.socket is None:
        raise ConfigError(
            f"{name}: {description!r} cannot be shared by several processes: give tcp:, tcp6: or systemd:, before them "
            "haproxy: if a proxy speaks that, and let a proxy terminate TLS"
        )
    found: socket.socket = holder.socket
    return found


def adopted(description: str, one: socket.socket, index: int) -> str:
    """The endpoint by which a process uses a socket that was handed over."""
    proxied = "haproxy:" if description.startswith("haproxy:") else ""
    return f"{proxied}systemd:domain={'INET6' if one.family == socket.AF_INET6 else 'INET'}:index={index}"


def numbered(name: str, text: str, number: int) -> str:
    """An endpoint or URL with a port for each process: the number of the process, from 0, added to the port.

    Raises:
        ConfigError: it has no port.
    """
    ports = list(_PORT.finditer(text))
    # The host of a URL may be an IPv6 address.
    found = ports and ports[-1 if "://" in text else 0]
    if not found:
        raise ConfigError(f"{name}: {text!r} has no port, to which the number of a process can be added")
    # 0 is any free port.
    port = int(found[2]) and int(found[2]) + number
    return f"{text[: found.start()]}{found[1]}{port}{text[found.end() :]}"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The sockets that the processes share, and the options of each process.

    Attributes:
        sockets: to hand over, in order.
        options: of each process, beside those of the command line.
        environ: variables for all of them.
        reserved: sockets that keep the ports for the other daemons.
    """

    sockets: tuple[socket.socket, ...]
    options: tuple[tuple[str, ...], ...]
    environ: Mapping[str, str]
    reserved: tuple[socket.socket, ...] = ()

    def close(self) -> None:
        """Close all sockets."""
        for one in (*self.sockets, *self.reserved):
            one.close()


def check(config: Config, launch: Launch) -> None:
    """Whether several processes can serve with these settings. Raises ConfigError."""
    if config.demo:
        raise ConfigError("processes: a demo is one process: leave out --processes, or --demo")
    if not config.amqp:
        raise ConfigError(
            f"processes: {launch.count} processes act as one through RabbitMQ and Redis alone: give amqp, redis and "
            "the store redis or postgresql://… (or amqp and the store none), or leave out --processes"
        )
    if config.control:
        raise ConfigError("control: several processes cannot share a control socket: leave it out")


def make_plan(config: Config, launch: Launch) -> Plan:
    """Open the shared sockets, and give each process its options. Raises ConfigError."""
    check(config, launch)
    numbers = range(launch.count)
    options: list[list[str]] = [[] for _ in numbers]
    # First, since they open nothing.
    for name in ("peer_listen", "peer_url", "ops_listen"):
        if text := getattr(config, name):
            for number in numbers:
                options[number].append(f"--{name.replace('_', '-')}={numbered(name, text, number)}")
    shared = [name for name in ("listen", "api_listen") if getattr(config, name)]
    sockets: list[socket.socket] = []
    try:
        for index, name in enumerate(shared):
            description = getattr(config, name)
            sockets.append(held(name, description))
            for one in options:
                one.append(f"--{name.replace('_', '-')}={adopted(description, sockets[index], index)}")
    except ConfigError:
        for opened in sockets:
            opened.close()
        raise
    environ = {"LISTEN_FDS": str(len(shared)), "LISTEN_FDNAMES": ":".join(shared)}
    reserved: list[socket.socket] = []
    if not config.peer_listen:
        environ["KSCHAT_PEER_SECRET"] = secrets.token_urlsafe(32)
        for one in options:
            reserved.append(_reserved())
            one.append(f"--peer-listen=tcp:{reserved[-1].getsockname()[1]}:interface=127.0.0.1")
    return Plan(sockets=tuple(sockets), options=tuple(map(tuple, options)), environ=environ, reserved=tuple(reserved))


def _reserved() -> socket.socket:
    """A free port of this machine, kept for one process at a time.

    The socket is bound and does not listen. Linux lets another socket with SO_REUSEADDR, as Twisted's have it, bind to
    the same port and listen; until then it refuses connections. No other program gets the port.
    """
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("127.0.0.1", 0))
    return one
