"""Revoked tokens: who is refused, who is disconnected, on which daemons, and when."""

from __future__ import annotations

import math
from typing import Any

import jwt
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.memory import MemoryStore
from kschat.backends.null import NullStore
from kschat.chat import revoker
from kschat.chat.expiry import TURN
from kschat.chat.interfaces import RevocationsFull, StoreUnavailable
from kschat.chat.revocation import FOREVER, LEEWAY, LIFTED_KEPT, Revocation, RevocationList, RevocationRequest, user_of
from kschat.chat.revoker import LOOK_INTERVAL, MAX_PAGE
from kschat.chat.tokens import Identity
from tests.chat.daemon import NOW, SECRET
from tests.chat.peers import Client, Daemon, StillRouter
from tests.chat.test_daemons import MS, DaemonsTestCase
from tests.contracts.doubles import LateStore

DAY = 86_400_000


def token(user: object, **claims: Any) -> str:
    """A token with these claims."""
    return jwt.encode({"data": {"id": user}, **claims}, SECRET, algorithm="HS256")


def asking(daemon: Daemon, text: str, query: dict[str, str] | None = None) -> Client:
    """A client that asks to be let in with this token."""
    client = daemon.client("whoever", query)
    client.token = text
    return client.join()


class RequestTests(SynchronousTestCase):
    """What an operator asks for."""

    def meant(self, **request: Any) -> Revocation:
        return RevocationRequest(**request).revocation(MS, 30 * DAY)

    def test_a_user_is_revoked_until_that_is_lifted(self) -> None:
        self.assertEqual(self.meant(user="ann").until, FOREVER)
        self.assertEqual(self.meant(user=42), self.meant(user="42"))

    def test_a_token_is_kept_until_it_has_expired_or_for_the_setting_s_time(self) -> None:
        self.assertEqual(self.meant(jti="a", expires=NOW + 60).until, MS + 60_000 + LEEWAY)
        self.assertEqual(self.meant(jti="a").until, MS + 30 * DAY)
        self.assertEqual(RevocationRequest(jti="a").revocation(MS, 0).until, FOREVER)

    def test_what_was_issued_early_is_kept_for_the_setting_s_time(self) -> None:
        one = self.meant(issued_before=NOW - 0.5)
        self.assertEqual((one.before, one.until), (MS - 500, MS + 30 * DAY))
        self.assertNotEqual(self.meant(user="ann", issued_before=NOW).key, one.key)

    def test_no_two_requests_share_a_key_that_mean_different_tokens(self) -> None:
        table: list[dict[str, Any]] = [
            {"user": "a"},
            {"jti": "a"},
            {"user": "a", "issued_before": 1},
            {"issued_before": 1},
            {"user": "ta"},
            {"jti": "ua"},
        ]
        self.assertEqual(len({self.meant(**one).key for one in table}), len(table))

    def test_lifting_is_kept_long_enough_for_every_daemon_to_learn_of_it(self) -> None:
        one = self.meant(user="ann", lift=True)
        self.assertEqual((one.key, one.lifted, one.until), (self.meant(user="ann").key, True, MS + LIFTED_KEPT))
        self.assertEqual(self.meant(issued_before=9, lift=True).key, self.meant(issued_before=1).key)

    def test_what_is_not_valid_is_one_sentence(self) -> None:
        table: list[dict[str, Any]] = [
            {},
            {"lift": True},
            {"user": ""},
            {"user": "#room"},
            {"user": "x" * 129},
            {"user": "\ud800"},
            {"jti": ""},
            {"jti": "x" * 257},
            {"jti": "\ud800"},
            {"jti": "a", "user": "ann"},
            {"jti": "a", "issued_before": 1},
            {"user": "ann", "expires": 1},
            {"jti": "a", "expires": math.nan},
            {"jti": "a", "expires": -1},
            {"jti": "a", "expires": 1e300},
            {"issued_before": math.nan},
            {"issued_before": math.inf},
            {"issued_before": -1},
            {"issued_before": NOW + 61},
        ]
        for request in table:
            with self.assertRaises(ValueError) as caught:
                self.meant(**request)
            self.assertTrue(str(caught.exception), request)


class ListTests(SynchronousTestCase):
    """Which tokens are revoked."""

    def refused(self, *revocations: Revocation, **identity: Any) -> bool:
        listed = RevocationList()
        for one in revocations:
            listed.add(one)
        return listed.refuses(Identity(**{"user": "ann", "expires": None, **identity}))

    def test_a_user(self) -> None:
        ann = RevocationRequest(user="ann").revocation(MS, DAY)
        self.assertTrue(self.refused(ann, issued=NOW + 100))
        self.assertFalse(self.refused(ann, user="an"))
        self.assertFalse(self.refused(ann, user="tann"))

    def test_a_token(self) -> None:
        one = RevocationRequest(jti="ann").revocation(MS, DAY)
        self.assertTrue(self.refused(one, token_id="ann"))
        self.assertFalse(self.refused(one, token_id="ANN"))
        self.assertFalse(self.refused(one))

    def test_what_was_issued_up_to_a_time_or_does_not_say_when(self) -> None:
        for user in (None, "ann"):
            one = RevocationRequest(user=user, issued_before=NOW).revocation(MS, DAY)
            for issued, refused in ((NOW, True), (NOW - 1, True), (None, True), (NOW + 1, False), (NOW + 0.001, False)):
                self.assertIs(self.refused(one, issued=issued), refused, (user, issued))
            self.assertIs(self.refused(one, user="ben", issued=NOW), user is None)

    def test_revoking_less_lifts_nothing_and_lifting_does(self) -> None:
        late = RevocationRequest(issued_before=NOW).revocation(MS, DAY)
        early = RevocationRequest(issued_before=NOW - 100).revocation(MS, DAY)
        lifted = RevocationRequest(issued_before=0, lift=True).revocation(MS, DAY)
        self.assertTrue(self.refused(late, early, issued=NOW - 1))
        self.assertFalse(self.refused(late, lifted, issued=NOW - 1))
        self.assertFalse(self.refused(late, lifted, early, issued=NOW - 1))

    def test_what_is_kept_no_longer_is_forgotten(self) -> None:
        listed = RevocationList()
        listed.add(Revocation("ta", 0, MS))
        listed.add(Revocation("tb", 0, MS + 1))
        listed.prune(MS)
        self.assertEqual(len(listed), 1)

    def test_whose_tokens_a_key_means(self) -> None:
        keys = [
            RevocationRequest(**one).revocation(MS, 0).key
            for one in (
                {"user": "ann"},
                {"user": "ann", "issued_before": 1},
                {"jti": "ann"},
                {"issued_before": 1},
            )
        ]
        self.assertEqual([user_of(key) for key in keys], ["ann", "ann", None, None])


class DisconnectingTests(SynchronousTestCase):
    """What a revocation does on one daemon."""

    def setUp(self) -> None:
        self.daemon = Daemon(MemoryStore(1000, 10**6))

    def revoke(self, **request: Any) -> None:
        self.successResultOf(self.daemon.chat.operations.revoke(RevocationRequest(**request)))

    def alive(self, *clients: Client) -> list[bool]:
        for client in clients:
            client.read()
        return [client.alive for client in clients]

    def test_all_sockets_of_a_user_get_goodbye_and_are_disconnected_and_no_other(self) -> None:
        daemon = self.daemon
        ann, plain, ben = daemon.joined("ann", {"goodbye": "1"}), daemon.joined("ann"), daemon.joined("ben")
        self.revoke(user="ann")
        self.assertEqual(self.alive(ann, plain, ben), [False, False, True])
        self.assertEqual([ann.dismissed, plain.dismissed], [True, True])
        self.assertEqual(ann.events("Goodbye"), [{"reason": "revoked", "retryIn": 0}])
        self.assertEqual(plain.events("Goodbye"), [])
        self.assertEqual(daemon.counters.revoked, 2)
        self.assertEqual((daemon.hub.users, daemon.hub.sockets), (1, 1))

    def test_very_many_sockets_are_ended_in_several_turns(self) -> None:
        daemon, count = self.daemon, 2 * TURN + 7
        clients = [daemon.joined("ann") for _ in range(count)]
        self.revoke(issued_before=NOW + 60)
        self.assertEqual(daemon.hub.sockets, count - TURN)
        living = [client for client, alive in zip(clients, self.alive(*clients), strict=True) if alive]
        living[0].drop()  # it is gone by the time of its turn
        daemon.clock.advance(0)
        self.assertEqual((daemon.hub.sockets, daemon.counters.revoked), (0, count - 1))
        self.assertEqual(self.alive(*living[1:]).count(True), 0)

    def test_many_revocations_in_one_turn_look_at_all_sockets_twice(self) -> None:
        daemon = self.daemon
        clients = [asking(daemon, token("ann", jti=str(number))) for number in range(50)]
        looks = []
        sessions = daemon.hub.sessions

        def looked(user: str | None) -> Any:
            looks.append(user)
            return sessions(user)

        daemon.hub.sessions = looked  # type: ignore[method-assign]
        for number in range(40):
            self.revoke(jti=str(number), expires=NOW + 60)
        self.assertEqual(looks, [None])
        daemon.clock.advance(0)
        self.assertEqual(looks, [None, None])
        self.assertEqual(self.alive(*clients), [False] * 40 + [True] * 10)
        daemon.clock.advance(0)
        self.assertEqual(looks, [None, None])

    def test_such_a_token_is_refused_from_then_on_in_every_revision(self) -> None:
        self.revoke(user="ann")
        for client in (self.daemon.joined("ann"), asking(self.daemon, token("ann", iat=NOW + 1000))):
            client.read()
            self.assertEqual((client.refused, client.sid), ({"message": "Authentication error"}, None))
        self.daemon.joined("ann", revision=3)
        self.assertEqual(self.daemon.counters.denied, {"revoked": 3})
        self.assertEqual(self.daemon.hub.users, 0)

    def test_a_number_and_its_string_are_the_same_user(self) -> None:
        client = asking(self.daemon, token(42))
        self.revoke(user="42")
        self.assertEqual(self.alive(client), [False])
        self.revoke(user=42, lift=True)
        self.assertEqual(self.alive(asking(self.daemon, token("42"))), [True])

    def test_one_token_by_its_id_whatever_its_text(self) -> None:
        one, other = (asking(self.daemon, token("ann", jti=name)) for name in "ab")
        self.revoke(jti="a", expires=NOW + 60)
        self.assertEqual(self.alive(one, other), [False, True])
        # The same claims, otherwise written and signed: another text, and the same token.
        self.assertEqual(self.alive(asking(self.daemon, token("ann", extra=1, jti="a"))), [False])
        self.assertEqual(self.alive(asking(self.daemon, token("ann", jti="b"))), [True])

    def test_what_was_issued_before_a_time_of_a_user_or_of_all(self) -> None:
        def clients() -> list[Client]:
            return [asking(self.daemon, token(user, iat=NOW - age)) for user in ("ann", "ben") for age in (0, 50, 100)]

        early = clients()
        self.revoke(user="ann", issued_before=NOW - 50)
        expected = [True, False, False, True, True, True]
        self.assertEqual(self.alive(*early), expected)
        self.assertEqual(self.alive(*clients()), expected)
        self.revoke(issued_before=NOW - 100)
        expected[5] = False
        self.assertEqual(self.alive(*early), expected)
        self.assertEqual(self.alive(*clients()), expected)

    def test_a_token_without_a_time_counts_as_issued_early(self) -> None:
        times: tuple[Any, ...] = ("2026", None, True, [], {}, -1)
        odd = [token("ann"), *(token("ann", iat=iat) for iat in times)]
        clients = [asking(self.daemon, one) for one in odd]
        self.revoke(issued_before=1)
        self.assertEqual(self.alive(*clients), [False] * len(odd))

    def test_a_revocation_that_is_lifted_holds_no_more(self) -> None:
        self.revoke(user="ann")
        self.revoke(user="ann", lift=True)
        self.assertEqual(self.alive(self.daemon.joined("ann")), [True])

    def test_a_socket_that_is_just_being_let_in_is_refused(self) -> None:
        self.daemon.router.held = True
        client = self.daemon.joined("ann")
        self.revoke(user="ann")
        self.daemon.router.binding.pop().callback(None)
        client.read()
        self.assertEqual(client.refused, {"message": "Authentication error"})
        self.assertEqual(self.daemon.hub.users, 0)

    def test_an_invalid_request_fails_with_its_sentence(self) -> None:
        failure = self.failureResultOf(self.daemon.chat.operations.revoke(RevocationRequest()), ValueError)
        self.assertIn("name what is revoked", str(failure.value))

    def test_another_daemon_on_the_same_store_refuses_it_too(self) -> None:
        self.revoke(user="ann")
        later = Daemon(self.daemon.store)
        self.assertEqual(self.alive(later.joined("ann"), later.joined("ben")), [False, True])

    def test_more_than_the_bound_are_refused_and_nothing_is_revoked(self) -> None:
        self.patch(revoker, "MAX_REVOCATIONS", 2)
        for store in (MemoryStore(10, 1000), NullStore()):
            daemon = Daemon(store)
            client = daemon.joined("cem")
            for user in ("ann", "ben"):
                self.successResultOf(daemon.chat.operations.revoke(RevocationRequest(user=user)))
            self.failureResultOf(daemon.chat.operations.revoke(RevocationRequest(user="cem")), RevocationsFull)
            self.assertEqual(self.alive(client), [True])
            self.successResultOf(daemon.chat.operations.revoke(RevocationRequest(user="ann", lift=True)))


class ReadingTests(SynchronousTestCase):
    """The list in the store, and the sockets that wait for it."""

    def setUp(self) -> None:
        self.store = LateStore()
        self.daemon = Daemon(self.store)
        self.revoker = self.daemon.context.revoker

    def kept(self, user: str) -> None:
        """A revocation that this daemon was not told of."""
        self.successResultOf(self.store.revoke(Revocation(f"u{user}"), now=0, most=10**6))

    def test_nobody_is_let_in_before_the_list_was_read(self) -> None:
        self.kept("ann")
        self.store.lists.held = True
        ann, ben, gone = self.daemon.joined("ann"), self.daemon.joined("ben"), self.daemon.joined("ben")
        self.assertEqual([ben.read(), ben.sid, ann.refused], [[], None, None])
        gone.drop()
        self.store.lists.give()
        for client in (ann, ben):
            client.read()
        self.assertEqual(ann.refused, {"message": "Authentication error"})
        self.assertTrue(ben.sid)
        self.assertEqual(self.daemon.hub.sockets, 1)

    def test_while_the_store_is_away_they_wait_and_it_is_asked_again(self) -> None:
        self.kept("ann")
        self.store.lists.away = True
        ann, ben = self.daemon.joined("ann"), self.daemon.joined("ben")
        self.daemon.clock.advance(5)
        self.assertEqual([ann.alive, ben.alive, ben.sid], [True, True, None])
        self.store.lists.away = False
        self.daemon.clock.advance(5)
        for client in (ann, ben):
            client.read()
        self.assertEqual((ann.refused, ben.sid is None), ({"message": "Authentication error"}, False))

    def test_once_it_was_read_a_store_that_is_away_keeps_nobody_out(self) -> None:
        self.kept("ann")
        self.daemon.joined("ben")
        self.store.lists.away = True
        ann, ben = self.daemon.joined("ann"), self.daemon.joined("ben")
        for client in (ann, ben):
            client.read()
        self.assertEqual((ann.refused, ben.sid is None), ({"message": "Authentication error"}, False))

    def test_a_long_list_is_read_in_pages(self) -> None:
        for number in range(2 * MAX_PAGE + 1):
            self.kept(f"user {number}")
        for number in (0, MAX_PAGE, 2 * MAX_PAGE):
            client = self.daemon.joined(f"user {number}")
            client.read()
            self.assertTrue(client.refused, number)
        client = self.daemon.joined("user")
        client.read()
        self.assertTrue(client.sid)

    def test_what_the_store_can_not_keep_is_not_revoked(self) -> None:
        client = self.daemon.joined("ann")
        self.store.answers.away = True
        self.failureResultOf(self.daemon.chat.operations.revoke(RevocationRequest(user="ann")), StoreUnavailable)
        self.assertTrue(client.alive)

    def test_when_the_store_is_back_or_another_the_list_is_read_from_its_start(self) -> None:
        for turned in (self.daemon.hub.reconnected, self.daemon.hub.renewed):
            client = self.daemon.joined("ann")
            self.assertTrue(client.alive)
            self.kept("ann")
            turned()
            self.assertFalse(client.alive)
            self.successResultOf(self.daemon.chat.operations.revoke(RevocationRequest(user="ann", lift=True)))

    def test_a_store_that_breaks_its_word_is_asked_again(self) -> None:
        self.store.lists.broken = "answer"
        client = self.daemon.joined("ben")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.store.lists.broken = ""
        self.daemon.clock.advance(2)
        client.read()
        self.assertTrue(client.sid)

    def test_a_change_that_comes_while_the_list_is_read_is_read_as_well(self) -> None:
        self.daemon.joined("ben")
        self.store.lists.held = True
        self.revoker.refresh()
        client = self.daemon.joined("ann")
        self.revoker.refresh()
        self.store.lists.give(1)
        self.kept("ann")
        self.store.lists.give()
        self.assertFalse(client.alive)


class ClusterTests(DaemonsTestCase):
    """Several daemons."""

    def setUp(self) -> None:
        super().setUp()
        self.clients = [on.joined(user) for user in ("ann", "ben") for on in (self.one, self.other)]

    def alive(self) -> list[bool]:
        return [client.alive for client in self.clients]

    def revoke(self, **request: Any) -> Deferred[None]:
        return self.one.chat.operations.revoke(RevocationRequest(**request))

    def test_a_user_is_off_all_daemons_when_it_is_answered_and_refused_by_all(self) -> None:
        self.successResultOf(self.revoke(user="ann"))
        self.assertEqual(self.alive(), [False, False, True, True])
        for daemon in self.all:
            client = daemon.joined("ann")
            client.read()
            self.assertEqual(client.refused, {"message": "Authentication error"})

    def test_a_daemon_that_missed_it_reads_it_when_the_bus_is_back(self) -> None:
        self.bus(self.other).cut(MS)
        self.successResultOf(self.revoke(user="ann"))
        self.assertEqual(self.alive(), [False, True, True, True])
        self.bus(self.other).mend()
        self.assertEqual(self.alive(), [False, False, True, True])

    def test_a_daemon_that_missed_it_reads_it_at_the_next_look(self) -> None:
        router = StillRouter()
        router.alone = False
        third = Daemon(self.store, router, bus=self.circle.bus())
        third.context.revoker.start()
        client = third.joined("ann")
        self.circle.held = True
        self.successResultOf(self.revoke(user="ann"))
        self.assertTrue(client.alive)
        third.clock.advance(LOOK_INTERVAL)
        self.assertFalse(client.alive)
        third.context.revoker.stop()
        self.assertEqual(third.clock.getDelayedCalls(), [])

    def test_lifting_reaches_all(self) -> None:
        self.successResultOf(self.revoke(user="ann"))
        self.successResultOf(self.revoke(user="ann", lift=True))
        for daemon in self.all:
            self.assertTrue(daemon.joined("ann").alive)

    def test_without_a_store_all_daemons_hear_it_and_remember_it_while_they_run(self) -> None:
        self.store = NullStore()  # type: ignore[assignment]
        self.all.clear()
        one, other = self.daemon(), self.daemon()
        client = other.joined("ann")
        self.successResultOf(one.chat.operations.revoke(RevocationRequest(user="ann")))
        self.assertFalse(client.alive)
        refused = other.joined("ann")
        refused.read()
        self.assertEqual(refused.refused, {"message": "Authentication error"})
