"""The end of tokens on live sockets: who is told, who renews, who is ended, on whatever clock."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import jwt
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat.expiry import LOOK_EVERY, TURN, TokenTimes
from kschat.chat.revocation import RevocationRequest
from kschat.wire.engineio import Revision
from tests.chat.daemon import SECRET
from tests.chat.house import Guest, Heard, House

REVISIONS: tuple[Revision, ...] = (3, 4)


class ExpiryCase(SynchronousTestCase):
    house: House

    def live(self, seconds: float | None, user: str = "ann", revision: Revision = 4, **query: str) -> Guest:
        """A client that was let in by a token of so many seconds."""
        guest = self.house.stranger(revision, **query)
        token = self.token(seconds, user)
        guest.join(query=f"token={token}") if revision == 3 else guest.join({"token": token})
        (answer,) = guest.heard()
        self.assertEqual(answer.kind, "connect")
        return guest

    def token(self, seconds: float | None, user: str = "ann", **more: Any) -> str:
        return self.house.token(user, lasts=seconds, **more)

    def pass_time(self, seconds: float) -> None:
        """Whole seconds, one by one, since each look at the clock decides when the next one is."""
        for _ in range(int(seconds)):
            self.house.clock.advance(1)

    def renew(self, guest: Guest, token: object) -> Any:
        guest.say("Token", {"token": token}, ack=77)
        return guest.acks()[77]


class TestTheEnd(ExpiryCase):
    def setUp(self) -> None:
        self.house = House()

    def test_a_socket_ends_when_its_token_does(self) -> None:
        for revision in REVISIONS:
            guest = self.live(100, revision=revision)
            self.pass_time(99)
            self.assertEqual((guest.heard(), self.house.hub.sockets), ([], 1))
            self.pass_time(1)
            # Nothing that a client of the tutorial does not know; then the packet after which none comes back alone.
            self.assertEqual(guest.heard(), [Heard("disconnect", None)])
            self.assertIsNone(guest.line.closed)
            self.assertEqual((self.house.hub.sockets, len(self.house.context.expiry)), (0, 0))
        self.assertEqual(self.house.counters.tokens, {"expired": 2})

    def test_a_client_that_knows_more_is_told_before_and_why(self) -> None:
        for revision in REVISIONS:
            guest = self.live(200, revision=revision, goodbye="1")
            self.pass_time(139)
            self.assertEqual(guest.heard(), [])
            self.pass_time(1)
            self.assertEqual([one.data for one in guest.heard()], [["TokenExpiring", {"in": 60}]])
            self.pass_time(59)
            self.assertEqual(guest.heard(), [])
            self.pass_time(1)
            goodbye, end = guest.heard()
            self.assertEqual(goodbye.data, ["Goodbye", {"reason": "token", "retryIn": 0.0}])
            self.assertEqual(end.kind, "disconnect")

    def test_a_token_without_exp_never_ends(self) -> None:
        guest = self.live(None)
        self.assertEqual(len(self.house.context.expiry), 0)
        self.house.clock.advance(10**9)
        self.assertEqual((guest.heard(), self.house.hub.sockets), ([], 1))

    def test_the_leeway_counts_and_the_grace_comes_after_it(self) -> None:
        self.house = House(leeway=10, token_times=TokenTimes(notice=20, grace=5))
        guest = self.live(100, goodbye="1")
        self.pass_time(90)
        self.assertEqual(guest.events("TokenExpiring"), [{"in": 20}])
        self.pass_time(24)
        self.assertEqual(guest.heard(), [])
        self.pass_time(1)
        self.assertEqual([one.kind for one in guest.heard()], ["event", "disconnect"])

    def test_a_socket_may_renew_in_its_grace(self) -> None:
        self.house = House(token_times=TokenTimes(grace=30))
        guest = self.live(100)
        self.pass_time(110)
        self.assertEqual(self.renew(guest, self.token(100)), {"ER": 0})
        self.pass_time(90)
        self.assertEqual(self.house.hub.sockets, 1)

    def test_no_notice_by_setting(self) -> None:
        self.house = House(token_times=TokenTimes(notice=0))
        guest = self.live(100, goodbye="1")
        self.pass_time(99)
        self.assertEqual(guest.heard(), [])
        self.pass_time(1)
        self.assertEqual([one.kind for one in guest.heard()], ["event", "disconnect"])

    def test_a_client_that_renews_at_each_notice_with_short_tokens_does_not_do_so_all_the_time(self) -> None:
        guest = self.live(20, goodbye="1")
        renewals = 0
        for _ in range(100):
            self.pass_time(1)
            if guest.events("TokenExpiring"):
                renewals += 1
                self.renew(guest, self.token(20))
        self.assertIn(renewals, range(8, 11))
        self.assertEqual(self.house.hub.sockets, 1)

    def test_a_client_that_gives_the_same_token_again_is_told_some_times_more_and_ends(self) -> None:
        token = self.token(64)
        guest = self.house.stranger(4, goodbye="1").join({"token": token})
        guest.heard()
        told = 0
        for _ in range(64):
            self.pass_time(1)
            for one in guest.heard():
                if one.kind == "event" and one.name == "TokenExpiring":
                    told += 1
                    self.renew(guest, token)
        self.assertIn(told, range(3, 8))
        self.assertEqual(self.house.hub.sockets, 0)

    def test_ten_thousand_that_end_at_once_are_ended_some_a_turn(self) -> None:
        guests = [self.live(100, user=str(number)) for number in range(3 * TURN + 1)]
        here: list[int] = []

        def writing() -> AbstractContextManager[None]:
            here.append(self.house.hub.sockets)
            return self.house.hub.writing()

        self.house.clock.advance(99)
        self.patch(self.house.context.expiry, "_writing", writing)
        self.house.clock.advance(1)
        self.assertEqual(here, [3 * TURN + 1, 2 * TURN + 1, TURN + 1, 1])
        self.assertEqual(self.house.hub.sockets, 0)
        self.assertTrue(all(guest.heard()[-1].kind == "disconnect" for guest in guests))

    def test_the_log_says_why_it_left(self) -> None:
        self.live(100)
        with capturedLogs() as events:
            self.pass_time(100)
        self.assertIn("ann left: token expired", [formatEvent(event) for event in events])


class TestClocks(ExpiryCase):
    """The wall clock is set while sockets are there."""

    def setUp(self) -> None:
        self.house = House()

    def test_an_hour_forwards_ends_the_tokens_of_that_hour_at_once_and_no_other(self) -> None:
        short, long = self.live(1800), self.live(7200, user="ben")
        self.house.step = 3600
        self.pass_time(LOOK_EVERY)
        self.assertEqual([one.kind for one in short.heard()], ["disconnect"])
        self.assertEqual(long.heard(), [])
        self.house.clock.advance(3600)
        self.pass_time(1)
        self.assertEqual([one.kind for one in long.heard()], ["disconnect"])

    def test_an_hour_backwards_ends_none_before_its_time(self) -> None:
        guest = self.live(200, goodbye="1")
        self.house.step = -3600
        self.house.clock.advance(3739)
        self.pass_time(1)
        self.assertEqual(guest.events("TokenExpiring"), [{"in": 60}])
        self.pass_time(59)
        self.assertEqual(guest.heard(), [])
        self.pass_time(1)
        self.assertEqual([one.kind for one in guest.heard()], ["event", "disconnect"])

    def test_forwards_and_back_after_the_notice(self) -> None:
        guest = self.live(100, goodbye="1")
        self.house.step = 50
        self.pass_time(2)
        self.assertEqual(guest.events("TokenExpiring"), [{"in": 49}])
        self.house.step = -3600
        self.house.clock.advance(3600)
        self.assertEqual((guest.heard(), self.house.hub.sockets), ([], 1))

    def test_nothing_waits_where_no_token_expires(self) -> None:
        waiting = len(self.house.clock.getDelayedCalls())
        guests = [self.live(100 + number) for number in range(200)]
        self.assertEqual(len(self.house.clock.getDelayedCalls()) - waiting, 2)  # and one of the hub's, for all
        for guest in guests:
            guest.leave()
        self.assertEqual(len(self.house.context.expiry), 0)
        self.house.clock.advance(2)
        self.assertEqual(len(self.house.clock.getDelayedCalls()), waiting)

    def test_what_left_is_not_remembered(self) -> None:
        self.live(10**6)
        for number in range(1000):
            self.live(1000 + number).leave()
        self.assertLess(len(self.house.context.expiry._order), 100)


class TestRenewal(ExpiryCase):
    def setUp(self) -> None:
        self.house = House()

    def test_another_token_holds_from_then_on(self) -> None:
        for revision in REVISIONS:
            guest = self.live(100, revision=revision)
            self.pass_time(90)
            self.assertEqual(self.renew(guest, self.token(100)), {"ER": 0})
            self.pass_time(20)
            self.assertEqual(self.house.hub.sockets, 1)
            self.pass_time(80)
            # It used an event that the tutorial does not know, and so is told more.
            told = [one.data and one.data[0] for one in guest.heard()]
            self.assertEqual(told, ["TokenExpiring", "Goodbye", None])
            self.assertEqual(self.house.hub.sockets, 0)

    def test_the_rooms_of_the_new_token_count(self) -> None:
        guest = self.live(100)
        guest.say("Join", {"room": "team"}, ack=1)
        self.assertEqual(guest.acks()[1]["ER"], 6)
        self.renew(guest, self.token(100, rooms=("team",)))
        guest.say("Join", {"room": "team"}, ack=2)
        self.house.turn()
        self.assertEqual(guest.acks()[2], {"ER": 0})
        self.renew(guest, self.token(100))
        guest.say("Join", {"room": "#team"}, ack=3)
        self.assertEqual(guest.acks()[3]["ER"], 6)

    def test_those_whom_the_new_token_lets_write_to_count(self) -> None:
        guest = self.live(100)
        self.renew(guest, self.house.issuer.issue("ann", 100, to=("cem",)))
        first, second = guest.send("ann", "ben"), guest.send("ann", "cem")
        self.house.turn()
        acks = guest.acks()
        self.assertEqual((acks[first].get("ER"), acks[second].get("ER", 0)), (6, 0))
        self.renew(guest, self.token(100))
        third = guest.send("ann", "ben")
        self.house.turn()
        self.assertEqual(guest.acks()[third].get("ER", 0), 0)

    def test_a_revoked_token_is_none_to_renew_by(self) -> None:
        guest = self.live(100)
        claims = {"data": {"id": "ann"}, "exp": int(self.house.clock.seconds()) + 200, "jti": "gone"}
        self.successResultOf(self.house.chat.operations.revoke(RevocationRequest(jti="gone")))
        self.assertEqual(self.renew(guest, jwt.encode(claims, SECRET, "HS256"))["ER"], 6)
        claims["jti"] = "another"
        self.assertEqual(self.renew(guest, jwt.encode(claims, SECRET, "HS256")), {"ER": 0})
        # What it was renewed by can be revoked in turn.
        self.successResultOf(self.house.chat.operations.revoke(RevocationRequest(jti="another")))
        self.house.turn()
        self.assertEqual(self.house.hub.sockets, 0)

    def test_a_token_that_never_ends_ends_the_waiting(self) -> None:
        guest = self.live(100)
        self.renew(guest, self.token(None))
        self.assertEqual(len(self.house.context.expiry), 0)
        self.house.clock.advance(10**6)
        self.assertEqual(self.house.hub.sockets, 1)

    def test_a_shorter_one_counts_too(self) -> None:
        guest = self.live(1000)
        self.renew(guest, self.token(10))
        self.pass_time(10)
        self.assertEqual(self.house.hub.sockets, 0)

    def test_what_is_not_a_token_of_this_user_is_refused_and_changes_nothing(self) -> None:
        guest = self.live(100)
        good = self.token(100)
        bad = {
            "other_user": self.token(100, user="ben"),
            "expired": self.token(-1),
            "signature": good[:-4] + "AAAA",
            "malformed": "nonsense",
            "missing": "",
            "too_long": "x" * 9000,
        }
        for reason, token in bad.items():
            with capturedLogs() as events:
                answer = self.renew(guest, token)
            self.assertEqual(answer["ER"], 6, reason)
            (line,) = [text for event in events if "was rejected" in (text := formatEvent(event) or "")]
            self.assertTrue(line.endswith(f": {reason}"), line)
            if len(token) > 20:
                self.assertNotIn(token[:20], line)
        self.assertEqual(self.house.counters.tokens, {"refused": len(bad)})
        self.assertEqual(self.house.counters.denied, {})
        others: list[Any] = [1, None, [], {}]
        for odd in others:
            self.assertEqual(self.renew(guest, odd)["ER"], 1)
        guest.say("Token", ack=5)
        self.assertEqual(guest.acks()[5]["ER"], 1)
        self.pass_time(100)
        self.assertEqual(self.house.hub.sockets, 0)

    def test_without_an_ack_too(self) -> None:
        guest = self.live(100)
        guest.say("Token", {"token": self.token(200)})
        self.pass_time(110)
        self.assertEqual(self.house.hub.sockets, 1)

    def test_where_nothing_is_kept_too(self) -> None:
        self.house.store.keeps = False
        guest = self.live(100)
        self.assertEqual(self.renew(guest, self.token(200)), {"ER": 0})
