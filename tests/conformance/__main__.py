"""``python -m tests.conformance --port N``: serves until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.web.resource import Resource
from twisted.web.static import Data

from kschat.counters import Counters
from kschat.front.assembly import Front, FrontSettings
from kschat.front.channel import ChannelBounds
from kschat.front.engine import EngineSettings
from kschat.front.standalone import SocketIOService
from kschat.server import Server
from kschat.wire.cork import Cork
from kschat.wire.limits import Limits
from tests.conformance import sockets
from tests.conformance.echo import EchoRegistry, EchoResource
from tests.conformance.engine import Echo, PausingRegistry

#: Before the open packet of a WebSocket, and before ``auth``. Parts of the suites ask for one message after the other,
#: and miss one that their WebSocket library reads together with what came before.
PAUSE = 0.01

#: Autobahn's cases send and read up to 16 MiB at once.
LARGEST_ECHO = 64 * 2**20


def make_service(options: argparse.Namespace, reactor: Any) -> SocketIOService:
    """The service that ``options`` describe."""
    server = Server(reactor)
    sockets.serve(server, options.pause)
    settings = EngineSettings(
        ping_interval=options.ping_interval,
        ping_timeout=options.ping_timeout,
        connect_timeout=options.connect_timeout,
        deflate=options.deflate,
        origins=("*",),
        deflate_from=0,  # so that the cases about compression have something to look at, whatever they send
    )
    limits = Limits(max_payload=options.max_payload)

    listen = f"tcp:{options.port}:interface=127.0.0.1"
    root = Resource()
    bounds = ChannelBounds(max_body=options.max_payload)
    service = SocketIOService(listen, server, reactor, settings=settings, limits=limits, bounds=bounds, root=root)
    # The same site, timers and count of connections carry all three.
    cork = Cork()
    plain = Front(
        server,
        reactor,
        settings=FrontSettings(engine=settings, limits=limits, bounds=bounds),
        counters=Counters(),
        cork=cork,
        client=Data(b"", "text/plain"),
        connection=Echo,
        registry=partial(PausingRegistry, cork=cork, pause=options.pause, clock=reactor),
        beside=service.front,
    )
    plain.serve(service.site, root, "/engine.io/")
    large = msgspec.structs.replace(settings, max_unsent=4 * LARGEST_ECHO)
    echo = Front(
        server,
        reactor,
        settings=FrontSettings(engine=large, limits=Limits(max_payload=LARGEST_ECHO)),
        counters=Counters(),
        cork=Cork(),
        client=Data(b"", "text/plain"),
        registry=EchoRegistry,
        beside=service.front,
    )
    root.putChild(b"echo", EchoResource(echo.engine))
    return service


def main(arguments: Sequence[str]) -> int:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description="Serve the conformance suites.")
    add = parser.add_argument
    add("--port", type=int, required=True)
    add("--ping-interval", type=float, default=0.3, help="seconds (default %(default)s)")
    add("--ping-timeout", type=float, default=0.2, help="seconds (default %(default)s)")
    add("--connect-timeout", type=float, default=1.0, help="seconds (default %(default)s)")
    add("--max-payload", type=int, default=1_000_000, help="bytes, of all but /echo (default %(default)s)")
    add("--pause", type=float, default=PAUSE, help="seconds before an unasked message (default %(default)s)")
    add("--deflate", action="store_true", help="compress WebSocket messages where a client offers it")
    options = parser.parse_args(arguments)
    from twisted.internet import reactor as running

    reactor: Any = running
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
    service = make_service(options, reactor)
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
