"""What the operator does while the daemon is attacked: reads settings again, and ends it."""

from __future__ import annotations

from attack.rows.http import POLL, request
from attack.rows.pools import opened
from attack.rows.turns import flood
from attack.scenario import Row
from attack.wire import send

ROWS = (
    Row(
        name="hangups",
        kind="signals",
        what="valid messages, and 50 SIGHUPs a second",
        attack=flood(lambda client: send(client.user, "nobody") * 300, join=True),
        answers=("ER 4",),
        log_has=(b"the settings were read again",),
        hangups=50,
    ),
    Row(
        name="notice",
        kind="signals",
        what="polling sessions of 200 addresses, after SIGTERM",
        attack=opened(request(POLL), 200),
        connections=1,
        settings={"drain_notice": 3600, "drain_time": 3600},
        answers=("200",),
        log_has=(b"going down in 3600 seconds",),
        ends=True,
    ),
    Row(
        name="notice-sends",
        kind="signals",
        what="valid messages, after SIGTERM",
        attack=flood(lambda client: send(client.user, "nobody") * 300, join=True),
        settings={"drain_notice": 3600, "drain_time": 3600},
        answers=("ER 4",),
        ends=True,
    ),
)
