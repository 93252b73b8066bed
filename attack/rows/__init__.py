"""All rows, by their names.

- ``turns``: work that a turn of the reactor must not do at once; many small packets.
- ``packets``: one packet that costs more than its bytes.
- ``http``: requests, bodies, what is served.
- ``pools``: connections, sessions, half-sent bytes: who takes all of a pool.
- ``rates``: amplifiers, and what is limited by rates.
- ``reads``: small requests that make much work in a store.
- ``tls``: handshakes of TLS.
- ``beside``: the HTTP API, the ports for operators and for other daemons, and the broker.
- ``hooks``: the receiver of hooks, and events without an end.
- ``signals``: what the operator does meanwhile.
- ``probes``: single requests whose answer is the result.
"""

from collections.abc import Mapping
from typing import Final

from attack.rows import beside, hooks, http, packets, pools, probes, rates, reads, signals, tls, turns
from attack.scenario import Row

ROWS: Final[Mapping[str, Row]] = {
    row.name: row
    for module in (turns, packets, http, pools, rates, reads, tls, beside, hooks, signals, probes)
    for row in module.ROWS
}
