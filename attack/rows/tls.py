"""TLS: complete and unfinished handshakes, renegotiation, and small records."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterable, Sequence

from OpenSSL import SSL

from attack.rows.http import request
from attack.scenario import SOURCE, Attack, Row
from attack.wire import Records, connect, event, frame, send, upgrade_request, with_tls
from tests.support.tokens import token


def whole(attack: Attack) -> None:
    """One handshake after the other."""
    attack.again(lambda: with_tls(connect(attack.port, SOURCE)).close())


def half_open(attack: Attack) -> None:
    """The first bytes of a handshake."""
    attack.open_many(lambda number: b"\x16\x03\x01\x02\x00\x01\x00\x01", most=2000)


def half_answered(attack: Attack) -> None:
    """Handshakes with a complete first message of the client, and nothing after it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def hello(number: int) -> bytes:
        out = ssl.MemoryBIO()
        with contextlib.suppress(ssl.SSLWantReadError):
            context.wrap_bio(ssl.MemoryBIO(), out).do_handshake()
        return out.read()

    attack.open_many(hello, most=2000)


def noise(attack: Attack) -> None:
    """No TLS at all."""
    attack.open_many(lambda number: b"GET / HTTP/1.1\r\n\r\n" * 100, most=2000)


def renegotiations(attack: Attack) -> None:
    """The client asks for another handshake on the same connection, again and again (TLS 1.2)."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)

    def once() -> None:
        link = connect(attack.port, SOURCE)
        link.settimeout(None)
        connection = SSL.Connection(context, link)
        try:
            connection.set_connect_state()
            connection.do_handshake()
            while attack.on:
                connection.renegotiate()
                connection.do_handshake()
                attack.answers["renegotiated"] += 1
        except SSL.Error as error:
            raise ConnectionRefusedError(f"refused: {type(error).__name__}") from None
        finally:
            link.close()

    def counted() -> None:
        try:
            once()
        except ConnectionRefusedError as error:
            attack.answers[str(error)] += 1

    attack.again(counted)


def records(begin: Callable[[Attack, Records], None], parts: Sequence[bytes]) -> Callable[[Attack], None]:
    """The same small records all the time."""

    def once(attack: Attack) -> None:
        link = Records(attack.port, SOURCE)
        try:
            begin(attack, link)
            link.socket.settimeout(0.5)
            while attack.on:
                rest = memoryview(link.seal(parts))
                while rest and attack.on:
                    try:
                        rest = rest[link.socket.send(rest) :]
                    except TimeoutError:
                        attack.answers["not read from"] += 1
                attack.answers["rounds"] += 1
        finally:
            link.socket.close()

    return lambda attack: attack.again(lambda: once(attack))


def opened(attack: Attack, link: Records) -> None:
    """A WebSocket, without a token."""
    link.ask(upgrade_request("EIO=4&transport=websocket"), b'"sid"')


def joined(attack: Attack, link: Records) -> None:
    """A WebSocket that has joined the chat."""
    link.ask(upgrade_request(f"EIO=4&transport=websocket&token={token(attack.user)}&ksId={attack.user}"), b'"sid"')
    link.ask(frame(b"40/kschat,"), b"40/kschat,")


def nothing(attack: Attack, link: Records) -> None:
    """HTTP."""


def bytes_of(data: bytes) -> Iterable[bytes]:
    """Each byte by itself."""
    return [data[at : at + 1] for at in range(len(data))]


def unread(attack: Attack) -> None:
    """Large messages to fifty own sockets that do not read."""
    attack.kept += attack.many(50, lambda number: attack.user, reads=False, receive_buffer=4096)
    sender = f"{attack.user}s"
    attack.flood(lambda: attack.joined(sender), lambda link: send(sender, attack.user, "x" * 900_000))


def _row(name: str, what: str, attack: Callable[[Attack], None], *answers: str, connections: int = 3) -> Row:
    return Row(
        name=f"tls-{name}",
        kind="TLS",
        what=what,
        attack=attack,
        tls=True,
        connections=connections,
        answers=answers,
    )


NOOP, ACK = frame(b"6"), frame(b"43/kschat,[]")
UNKNOWN = event("Nonsense", {"a": 1}, ack=1)

ROWS = (
    _row("handshakes", "handshakes, one after the other", whole),
    _row("half", "handshakes that are not finished", half_open, connections=1),
    _row("half-answered", "handshakes whose client says nothing more", half_answered, connections=1),
    _row("noise", "HTTP where TLS is spoken", noise, connections=1),
    _row("renegotiations", "handshakes again on the same connection", renegotiations, "refused"),
    _row("records-bytes", "noops in records of one byte", records(opened, [*bytes_of(NOOP * 500)])),
    _row("records-noops", "records of 60 noops", records(opened, [NOOP * 60] * 200)),
    _row("records-pings", "records of 60 pings", records(opened, [frame(b"", 9) * 60] * 200)),
    _row("records-acks", "records of 30 acks that answer nothing", records(joined, [ACK * 30] * 300)),
    _row("records-events", "records of 20 unknown events", records(joined, [UNKNOWN * 20] * 100)),
    _row("records-http", "pipelined requests in small records", records(nothing, [request("/x") * 30] * 100)),
    _row(
        "records-headers", "headers in records of 2 kB", records(nothing, [b"GET /x HTTP/1.1\r\n" + b"a:b\r\n" * 380])
    ),
    _row("own-sockets", "4 MB to 50 own sockets that do not read", unread, "ER 4", connections=1),
)
