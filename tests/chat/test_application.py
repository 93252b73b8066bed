"""Who may join, what is told to whom, and what the log says of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kschat.repeated_log import LINES
from kschat.wire.engineio import Revision
from kschat.wire.errors import Reason
from tests.chat.house import Guest, Heard, House

REVISIONS: tuple[Revision, ...] = (3, 4)


class Joining(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()

    def asked(self, revision: Revision, token: str, **query: str) -> Guest:
        guest = self.house.stranger(revision, **query)
        return guest.join(query=f"token={token}") if revision == 3 else guest.join({"token": token})

    def test_who_has_a_token_is_let_in_in_its_revision_s_form(self) -> None:
        (answer,) = self.asked(3, self.house.token("ann")).heard()
        self.assertEqual(answer, Heard("connect", None))
        (answer,) = self.asked(4, self.house.token("ann")).heard()
        self.assertEqual((answer.kind, list(answer.data)), ("connect", ["sid"]))
        self.assertEqual((self.house.hub.users, self.house.hub.sockets), (1, 2))

    def test_who_has_none_is_refused_in_its_revision_s_form_and_leaves_nothing(self) -> None:
        token = self.house.token("ann")
        for bad in ("", "nonsense", token[:-1], token + "x", token.replace(".", "..", 1)):
            (answer,) = self.asked(3, bad).heard()
            self.assertEqual(answer, Heard("connect_error", "Authentication error"))
            (answer,) = self.asked(4, bad).heard()
            self.assertEqual(answer, Heard("connect_error", {"message": "Authentication error"}))
        self.assertEqual((self.house.hub.users, self.house.router.bound), (0, set()))
        self.assertEqual(sum(self.house.counters.denied.values()), 10)

    def test_the_reason_is_counted_and_not_told(self) -> None:
        self.house.clock.advance(0)
        token = self.house.token("ann", lasts=3600)
        self.house.clock.advance(3600)
        guest = self.asked(4, token)
        self.assertEqual(guest.heard()[0].data, {"message": "Authentication error"})
        self.asked(4, self.house.token("ann"), ksId="ben")
        self.assertEqual(self.house.counters.denied, {"expired": 1, "other_user": 1})

    def test_who_was_refused_may_ask_again(self) -> None:
        for revision in REVISIONS:
            guest = self.asked(revision, "bad")
            guest.heard()
            token = self.house.token("ann")
            guest.join(query=f"token={token}") if revision == 3 else guest.join({"token": token})
            self.assertEqual([one.kind for one in guest.heard()], ["connect"])

    def test_who_was_refused_can_say_nothing(self) -> None:
        for revision in REVISIONS:
            guest = self.asked(revision, "bad")
            guest.send("ann", "ben")
            self.assertEqual(guest.line.closed, Reason.PARSE_ERROR)

    def test_a_namespace_that_is_not_there_is_invalid(self) -> None:
        for namespace in ("/other", "/kschat2", "/KSCHAT", "/kschat/"):
            for revision, data in ((3, "Invalid namespace"), (4, {"message": "Invalid namespace"})):
                guest = self.house.stranger(revision)  # type: ignore[arg-type]
                guest.join({"token": self.house.token("ann")}, namespace=namespace)
                self.assertEqual(guest.heard(), [Heard("connect_error", data, namespace=namespace)])

    def test_the_default_namespace_lets_everybody_in_and_serves_nothing(self) -> None:
        guest = self.house.stranger(4)
        guest.text("0")
        (answer,) = guest.heard()
        self.assertEqual((answer.kind, answer.namespace), ("connect", "/"))
        guest.text('27["Send",{"uId":"ann","pId":"ben","msg":1}]')
        guest.text('2["Logout"]')
        self.assertEqual(guest.heard(), [])
        self.assertIsNone(guest.line.closed)
        self.assertFalse(guest.connection.serves)

    def test_a_socket_in_both_namespaces_keeps_them_apart(self) -> None:
        guest = self.house.guest("ann", 3)
        guest.text("1/kschat,")
        guest.text('2["Send",{}]')
        self.assertIsNone(guest.line.closed)
        self.assertEqual(self.house.hub.users, 0)

    def test_the_token_s_user_is_who_it_is_whether_a_number_or_not(self) -> None:
        guest = self.house.guest("42")
        guest.send(42, "ben")
        guest.send("42", "ben")
        guest.send("042", "ben")
        self.house.turn()
        self.assertEqual([ack.get("ER", 0) for ack in guest.acks().values()], [6, 0, 0])


class LateRouters(SynchronousTestCase):
    """A router may take its time to bind, or fail to."""

    def setUp(self) -> None:
        self.house = House()

    def ask(self, user: str = "ann") -> Guest:
        return self.house.stranger().join({"token": self.house.token(user)})

    def test_a_socket_is_let_in_when_it_is_bound(self) -> None:
        self.house.router.binds.held = True
        guest = self.ask()
        self.assertEqual(guest.heard(), [])
        self.house.router.binds.give()
        self.assertEqual([one.kind for one in guest.heard()], ["connect"])

    def test_a_socket_is_let_in_when_its_inbox_was_looked_at(self) -> None:
        self.house.store.looks.held = True
        guest = self.ask()
        self.assertEqual(guest.heard(), [])
        self.house.store.looks.give()
        self.assertEqual([one.kind for one in guest.heard()], ["connect"])

    def test_before_that_it_can_say_nothing(self) -> None:
        self.house.router.binds.held = True
        guest = self.ask()
        guest.send("ann", "ben")
        self.assertEqual(guest.line.closed, Reason.PARSE_ERROR)
        self.assertEqual((self.house.hub.users, self.house.router.bound), (0, set()))
        self.house.router.binds.give()
        self.assertEqual(guest.heard(), [])

    def test_a_router_that_is_away_keeps_nobody_out(self) -> None:
        self.house.router.binds.away = True
        for late in (False, True):
            self.house.router.binds.held = late
            guest = self.ask()
            self.house.router.binds.give()
            self.assertEqual([one.kind for one in guest.heard()], ["connect"])
        self.assertEqual((self.house.hub.sockets, self.house.router.bound), (2, {"ann"}))

    def test_a_socket_that_leaves_while_it_is_bound_leaves_nothing(self) -> None:
        for way in ("line", "packet"):
            for away in (False, True):
                self.setUp()
                self.house.router.binds.held = True
                self.house.router.binds.away = away
                with capturedLogs() as events:
                    guest = self.ask()
                    guest.leave() if way == "line" else guest.text("1/kschat,")
                    self.house.router.binds.give()
                self.assertEqual(guest.heard(), [])
                self.assertEqual((self.house.hub.users, self.house.router.bound), (0, set()), (way, away))
                self.assertEqual([formatEvent(event) for event in events if "joined" in formatEvent(event)], [])

    def test_one_of_two_sockets_that_leaves_while_it_is_bound_leaves_the_other(self) -> None:
        first = self.house.guest("ann")
        self.house.router.binds.held = True
        self.ask().leave()
        self.house.router.binds.give()
        self.assertEqual((self.house.hub.sockets, self.house.router.bound), (1, {"ann"}))
        first.send("ann", "ann", "still")
        self.house.turn()
        self.assertEqual([event["MSG"][0]["msg"] for event in first.events("RESPRECEIVER")], ["still"])

    def test_a_socket_that_comes_back_while_it_is_bound_is_let_in_once(self) -> None:
        self.house.router.binds.held = True
        guest = self.ask()
        guest.text("1/kschat,")
        guest.join({"token": self.house.token("ann")})
        self.house.router.binds.give()
        self.assertEqual([one.kind for one in guest.heard()], ["connect"])
        self.assertEqual((self.house.hub.sockets, self.house.router.bound), (1, {"ann"}))

    def test_a_second_wish_while_the_first_is_bound_ends_the_connection(self) -> None:
        self.house.router.binds.held = True
        guest = self.ask()
        guest.join({"token": self.house.token("ann")})
        self.assertEqual(guest.line.closed, Reason.PARSE_ERROR)
        self.assertEqual(self.house.router.bound, set())

    def test_a_router_that_breaks_its_word_costs_that_socket_alone(self) -> None:
        good = self.house.guest("ben")
        for broken in ("call", "answer"):
            self.house.router.binds.broken = broken
            guest = self.house.stranger()
            try:
                guest.join({"token": self.house.token("ann")})
            except ZeroDivisionError:
                guest.session.close(Reason.SERVER_ERROR)  # as the front does
            self.flushLoggedErrors(ZeroDivisionError)
            self.assertEqual([one.kind for one in guest.heard() if one.kind == "connect"], [])
            self.assertEqual((self.house.hub.users, self.house.router.bound), (1, {"ben"}), broken)
        good.send("ben", "ben")
        self.house.turn()
        self.assertEqual(len(good.events("RESPRECEIVER")), 1)


class Leaving(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()

    def test_a_user_is_bound_from_its_first_socket_to_its_last(self) -> None:
        first, second = self.house.guest("ann"), self.house.guest("ann")
        first.leave()
        self.assertEqual(self.house.router.bound, {"ann"})
        second.text("1/kschat,")
        self.assertEqual((self.house.router.bound, self.house.hub.sockets), (set(), 0))

    def test_each_end_is_counted_by_its_reason_once(self) -> None:
        for reason in Reason:
            self.house.guest("ann").session.close(reason, "a detail")
        self.assertEqual(self.house.counters.closed, {reason.text: 1 for reason in Reason})
        self.assertEqual(self.house.hub.users, 0)

    def test_a_socket_that_has_left_is_not_written_to(self) -> None:
        guest = self.house.guest("ann")
        guest.text("1/kschat,")
        self.house.guest("ben").send("ben", "ann")
        self.house.turn()
        self.assertEqual(guest.heard(), [])

    def test_those_who_can_understand_it_are_told_goodbye(self) -> None:
        polite, plain = self.house.guest("ann", batch="1"), self.house.guest("ann")
        for guest in (polite, plain):
            guest.session.close(Reason.SHUTTING_DOWN)
        self.assertEqual(polite.events("Goodbye"), [{"reason": "drain", "retryIn": 1.0}])
        self.assertEqual(plain.heard(), [])

    def test_acks_and_proofs_of_who_was_asked_nothing_are_nothing(self) -> None:
        guest = self.house.guest("ann")
        guest.text("3/kschat,0[]")
        guest.text('3/kschat,999999999999999["x",{"y":1}]')
        guest.session.confirmed(5)
        self.assertIsNone(guest.line.closed)


class Logging(SynchronousTestCase):
    """No token and no message's text in any line, whatever happens."""

    def lines(self, events: Sequence[Any]) -> list[str]:
        return [formatEvent(event) for event in events]

    def test_an_id_reaches_the_log_as_text(self) -> None:
        with capturedLogs() as events:
            House().guest("a\x1b[2J\0\n").leave()
        self.assertEqual([line.split()[0] for line in self.lines(events)], ["a\\x1b[2J\\x00\\n"] * 2)

    def test_who_comes_and_goes_is_told(self) -> None:
        with capturedLogs() as events:
            house = House()
            house.guest("ann").leave()
            house.stranger().join({"token": "bad"})
        self.assertEqual(
            self.lines(events),
            [
                "ann joined from 192.0.2.7:1",
                "ann left: transport close",
                "a socket from 192.0.2.7:1 was rejected: malformed",
            ],
        )

    def test_a_flood_of_bad_tokens_is_no_flood_of_lines(self) -> None:
        house = House()
        with capturedLogs() as events:
            for _ in range(5 * LINES):
                house.stranger().join({"token": "bad"})
            house.context.repeated.flush()
        lines = self.lines(events)
        self.assertEqual(len(lines), LINES + 1)
        self.assertEqual(
            lines[-1], f"{4 * LINES} more like this in the last 10 s: sockets that were rejected: malformed"
        )

    def test_a_flood_of_unknown_namespaces_is_no_flood_of_lines(self) -> None:
        house = House()
        with capturedLogs() as events:
            for _ in range(5 * LINES):
                house.stranger().join(namespace="/nowhere")
            house.context.repeated.flush()
        lines = self.lines(events)
        self.assertEqual(len(lines), LINES + 1)
        self.assertEqual(
            lines[-1], f"{4 * LINES} more like this in the last 10 s: sockets that were rejected: namespace"
        )

    def test_no_token_and_no_text_is_in_it(self) -> None:
        secret = "s3cret-text"
        with capturedLogs() as events:
            house = House(max_batch=1, max_in_flight=1, max_waiting=2)
            token = house.token("ann")
            for revision in REVISIONS:
                guest = house.stranger(revision, "Bearer " + token, token=token[:-2])
                guest.join({"token": token, "more": secret})
                guest.join(query=f"token={token}&more={secret}")
                guest = house.guest("ann", revision)
                for away in (False, True):
                    house.store.answers.away = house.router.answers.away = away
                    for msg in (secret, {"a": secret}, [secret] * 3):
                        guest.send("ann", "ben", msg, cid=secret)
                        guest.send("ben", "ann", msg)
                        guest.send("ann", "", msg)
                        guest.say("Send", secret, ack=1)
                        guest.say(secret, secret, ack=1)
                        guest.say("History", {"pId": secret, "before": secret}, ack=2)
                        house.turn()
                guest.text(f'2/kschat,["Send",{{"msg":"{secret}"')
                guest.text(f"9{secret}")
            for broken in ("call", "answer"):
                guest = house.guest("ann")
                house.store.answers.broken = house.router.answers.broken = broken
                guest.send("ann", "ben", secret)
                house.turn()
                house.store.answers.broken = ""
                house.store.answers.away = house.router.answers.away = False
                guest.send("ann", "ben", secret)
                house.turn()
                house.router.answers.broken = ""
        self.flushLoggedErrors()
        lines = self.lines(events) + [str(event.get("log_failure", "")) for event in events]
        self.assertGreater(len(lines), 20)
        for word in (token, token[:-2], secret, json.dumps(secret)):
            self.assertEqual([line for line in lines if word in line], [])

    def test_lines_have_fields(self) -> None:
        with capturedLogs() as events:
            House().guest("ann")
        (event,) = events
        self.assertEqual((event["user"], event["peer"]), ("ann", "192.0.2.7:1"))
        self.assertEqual(event["log_namespace"], "kschat.chat.application.Chat")
