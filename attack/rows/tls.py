"""Handshakes of TLS: whole ones, and such that are never finished."""

from __future__ import annotations

from attack.scenario import SOURCE, Attack, Row
from attack.wire import connect, with_tls


def whole(attack: Attack) -> None:
    """One handshake after the other."""
    attack.again(lambda: with_tls(connect(attack.port, SOURCE)).close())


def half_open(attack: Attack) -> None:
    """The first bytes of a handshake."""
    attack.open_many(lambda number: b"\x16\x03\x01\x02\x00\x01\x00\x01", most=2000)


def noise(attack: Attack) -> None:
    """No TLS at all."""
    attack.open_many(lambda number: b"GET / HTTP/1.1\r\n\r\n" * 100, most=2000)


ROWS = (
    Row(name="tls-handshakes", kind="TLS", what="handshakes, one after the other", attack=whole, tls=True),
    Row(
        name="tls-half", kind="TLS", what="handshakes that are not finished", attack=half_open, tls=True, connections=1
    ),
    Row(name="tls-noise", kind="TLS", what="HTTP where TLS is spoken", attack=noise, tls=True, connections=1),
)
