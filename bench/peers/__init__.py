"""What can be measured. A peer knows how it is started and how the load speaks to it; the measuring knows neither.

- ``base``    what a peer is, and starting and stopping processes
- ``daemon``  ``twistd -n kschat``
- ``tutorial``  the tutorial's server on Node, which kschat replaces
- ``echo``    a plain Twisted TCP echo: what the same frames cost on this machine with nothing done to them

Another store is another row of ``PEERS``; another server is a module with what ``base.Peer`` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bench.peers.base import Peer
from bench.peers.daemon import Daemon
from bench.peers.echo import Echo
from bench.peers.tutorial import Tutorial

BROKERED: Final = ("--until-delivered", "--settle", "1")
"""How the load speaks to all that stand on RabbitMQ: as the tutorial's server, which acknowledges before it publishes,
has to be measured."""

PEERS: Final[Mapping[str, Peer]] = MappingProxyType(
    {
        peer.name: peer
        for peer in (
            Daemon(name="memory", settings=(("store", "memory"),)),
            Daemon(name="sqlite", settings=(("store", "sqlite:{directory}/kschat.db"),)),
            Daemon(
                name="sqlite-normal", settings=(("store", "sqlite:{directory}/kschat.db"), ("store_sync", "normal"))
            ),
            Daemon(name="memory-eio3", settings=(("store", "memory"),), load=("--eio", "3")),
            Tutorial(name="node"),
            Tutorial(name="node-confirm", confirm=True),
            Daemon(
                name="cluster",
                settings=(("store", "redis"), ("amqp", "{rabbitmq}"), ("redis", "{redis}")),
                load=BROKERED,
            ),
            Daemon(
                name="postgresql",
                settings=(("store", "{postgresql}"), ("amqp", "{rabbitmq}"), ("redis", "{redis}")),
                load=BROKERED,
            ),
            Daemon(name="relay", settings=(("store", "none"), ("amqp", "{rabbitmq}")), load=BROKERED),
            Echo(),
        )
    }
)
"""Every peer by the name it is asked for and shown with."""
