"""The router between daemons, over RabbitMQ.

- ``settings``    the operator's settings
- ``address``     converts a URL to an endpoint; TLS verifies the host name
- ``keys``        routing keys and bindings for each exchange type
- ``publish_plan`` groups the messages of a batch into publishes and chooses their routing keys
- ``codec``       encodes batches, and the tutorial's messages, as bytes
- ``compat``      uses of private parts of pika
- ``measuring``   how far RabbitMQ is behind
- ``protocol``    one connection: pika's protocol with its faults fixed
- ``publisher``   publisher confirms and returned messages
- ``queues``      bindings and incoming messages
- ``neighbours``  finds the other daemons and checks that they are compatible with this one
- ``connection``  one connection in use, and its liveness check
- ``kind``        how RabbitMQ describes itself to the settings and the daemon
- ``probe``       checks whether a daemon that starts now could use RabbitMQ
- ``router``      ``AmqpRouter``: reconnects, publishes and reports the result

No other package uses pika's Twisted adapter.
"""

from kschat.backends.amqp.address import check_url
from kschat.backends.amqp.kind import settings_of
from kschat.backends.amqp.probe import probe
from kschat.backends.amqp.router import AmqpRouter
from kschat.backends.amqp.settings import ExchangeType, Settings
from kschat.tls import AddressError

__all__ = ["AddressError", "AmqpRouter", "ExchangeType", "Settings", "check_url", "probe", "settings_of"]
