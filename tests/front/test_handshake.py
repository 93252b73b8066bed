"""Which requests are served: every combination of facts, against the reference server's order of errors."""

from __future__ import annotations

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from kschat.front.engine_request import EngineRequest
from kschat.front.handshake import (
    BAD_METHOD,
    BAD_REQUEST,
    FORBIDDEN,
    TOO_MANY,
    UNKNOWN_SID,
    UNKNOWN_TRANSPORT,
    UNSUPPORTED_VERSION,
    Facts,
    KnownSession,
    Refusal,
    refusal_of,
)
from kschat.wire.engineio import Revision

REVISIONS: tuple[Revision | None, ...] = (3, 4, None)


def expected(query: EngineRequest, facts: Facts) -> Refusal | None:
    """The order in words: transport, session, method or upgrade, origin, version, and what only a daemon knows."""
    websocket = query.transport == "websocket"
    faults = [
        (UNKNOWN_TRANSPORT, query.transport not in ("polling", "websocket")),
        (UNKNOWN_SID, query.sid is not None and facts.session is None),
        (BAD_METHOD, query.sid is None and facts.method != b"GET"),
        (BAD_REQUEST, facts.upgrade != websocket),
        (BAD_REQUEST, query.sid is not None and websocket and facts.method != b"GET"),
        (BAD_REQUEST, facts.session is not None and not websocket and not facts.session.polls),
        (BAD_REQUEST, facts.method not in (b"GET", b"POST")),
        (FORBIDDEN, not facts.origin_allowed()),
        (UNSUPPORTED_VERSION, query.revision is None),
        (BAD_REQUEST, facts.session is not None and facts.session.revision != query.revision),
        (TOO_MANY, query.sid is None and not websocket and facts.polling_full()),
    ]
    return next((refusal for refusal, holds in faults if holds), None)


class Order(SynchronousTestCase):
    def test_of_every_combination_the_first_fault_is_told(self) -> None:
        told = set()
        for transport, sid, revision, method, upgrade, session, allowed, full in product(
            ("polling", "websocket", "smoke", None),
            (None, "x"),
            REVISIONS,
            (b"GET", b"POST", b"PUT"),
            (False, True),
            (None, KnownSession(4, True), KnownSession(4, False)),
            (True, False),
            (False, True),
        ):
            if sid is None and session is not None:
                continue
            query = EngineRequest(
                transport=transport, sid=sid, revision=revision, base64=False, script=None, stamp=None
            )
            facts = Facts(
                method=method,
                upgrade=upgrade,
                session=session,
                origin_allowed=lambda allowed=allowed: allowed,  # type: ignore[misc]
                polling_full=lambda full=full: full,  # type: ignore[misc]
            )
            refusal = refusal_of(query, facts)
            self.assertEqual(refusal, expected(query, facts), (query, facts))
            told.add(refusal)
        self.assertEqual(len(told), 8)
