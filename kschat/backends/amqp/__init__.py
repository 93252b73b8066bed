"""Messages between daemons, by RabbitMQ.

- ``settings``    what an operator chooses
- ``address``     the endpoint that a URL means, TLS with the name verified
- ``keys``        routing keys and bindings of each exchange type
- ``publish_plan`` which messages of a batch travel together, by which keys
- ``codec``       batches, and the tutorial's messages, as bytes
- ``compat``      what touches privates of pika
- ``protocol``    one connection: pika's, mended
- ``publisher``   confirms and returns
- ``queues``      what is bound, and what arrives
- ``neighbours`` which other daemons there are, and whether they go together with this one
- ``connection``  one connection in use, and whether it answers
- ``kind``        what the configuration means for it
- ``probe``       whether a daemon that starts now could use it
- ``router``      ``AmqpRouter``: connects again and again, and says what became of it

pika's Twisted adapter is used nowhere else.
"""

from kschat.backends.amqp.address import check_url
from kschat.backends.amqp.kind import settings_of
from kschat.backends.amqp.probe import probe
from kschat.backends.amqp.router import AmqpRouter
from kschat.backends.amqp.settings import ExchangeType, Settings
from kschat.backends.tls import AddressError

__all__ = ["AddressError", "AmqpRouter", "ExchangeType", "Settings", "check_url", "probe", "settings_of"]
