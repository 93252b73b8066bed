"""Sessions over HTTP requests alone. Classes are named after the documents' sections; both revisions."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kschat.front.channel import ChannelBounds
from kschat.front.polling import CONGESTED, LAST_WORDS_TIMEOUT, SECOND_REQUEST_TIMEOUT
from kschat.front.turns import PACKETS as SLICE
from kschat.wire import payload
from kschat.wire.connection import Socket
from kschat.wire.engineio import Frame, Revision
from kschat.wire.errors import Reason
from kschat.wire.limits import Limits
from tests.chat.house import House
from tests.front.daemon import Daemon, Response
from tests.front.pollers import PendingRequest, Poller, request

REVISIONS: tuple[Revision, ...] = (3, 4)


class PollingTests(SynchronousTestCase):
    def each(self, **settings: Any) -> Iterator[tuple[Daemon, Poller]]:
        """A client of each revision that has joined, on a daemon of its own."""
        for revision in REVISIONS:
            daemon = Daemon(**settings)
            poller = Poller(daemon, revision)
            poller.join()
            yield daemon, poller

    def assertEnded(self, poller: Poller, reason: Reason) -> None:
        """Its session has ended so, and is not known any more."""
        self.assertFalse(poller.lives)
        self.assertEqual([ended[0] for ended in poller.daemon.recorder.of("ended")], [reason])
        for asked in (poller.get(), poller.post("2")):
            self.assertEqual((asked.status, asked.code), (400, 1))
        self.assertEqual(poller.daemon.front.polls.taken, 0)


class Handshake(PollingTests):
    def test_the_open_packet_says_what_there_is(self) -> None:
        for revision in REVISIONS:
            poller = Poller(Daemon(limits=Limits(max_payload=1000), ping_interval=0.3, ping_timeout=0.2), revision)
            expected = {"pingInterval": 300, "pingTimeout": 200, "maxPayload": 1000, "upgrades": ["websocket"]}
            self.assertEqual(poller.opened, {**expected, "sid": poller.sid})
            headers = poller.opening.response.headers
            self.assertEqual(headers["content-type"], "text/plain; charset=UTF-8")
            self.assertEqual(headers["cache-control"], "no-store")

    def test_clients_of_revision_3_are_joined_to_the_default_namespace_at_once(self) -> None:
        self.assertEqual([text[:2] for text in Poller(Daemon(), 3).texts(Poller(Daemon(), 3).opening)], ["0{", "40"])
        poller = Poller(Daemon(), 4)
        self.assertEqual(len(poller.frames(poller.opening)), 1)

    def test_eio_is_3_or_4_and_nothing_else(self) -> None:
        for query in ("", "EIO=", "EIO=2", "EIO=5", "EIO=abc", "EIO=04"):
            asked = PendingRequest(Daemon().connect(), request("GET", f"transport=polling&{query}"))
            self.assertEqual((asked.status, asked.code), (400, 5), query)

    def test_a_session_begins_by_get_alone(self) -> None:
        for revision in REVISIONS:
            for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
                daemon = Daemon()
                asked = PendingRequest(daemon.connect(), request(method, f"EIO={revision}&transport=polling"))
                self.assertEqual((asked.status, asked.code), (400, 2), method)
                self.assertEqual(list(daemon.sessions), [])
            asked = PendingRequest(daemon.connect(), request("HEAD", f"EIO={revision}&transport=polling"))
            self.assertEqual((asked.status, asked.response.body), (400, b""))

    def test_polling_is_no_websocket(self) -> None:
        asked = PendingRequest(Daemon().connect(), request("GET", "EIO=4&transport=polling", b"", "Upgrade: websocket"))
        self.assertEqual((asked.status, asked.code), (400, 3))

    def test_the_application_is_told_what_the_first_request_said(self) -> None:
        daemon = Daemon()
        Poller(daemon, 4, "&token=t%20k", ["Authorization: Bearer x"]).join()
        handshake = daemon.recorder.sockets[0].connection.handshake
        self.assertEqual((handshake.query["token"], handshake.authorization), ("t k", "Bearer x"))

    def test_sessions_beyond_the_bound_are_refused_until_others_end(self) -> None:
        for revision in REVISIONS:
            daemon = Daemon(max_polls=2)
            first, second = Poller(daemon, revision), Poller(daemon, revision)
            first.join()
            second.join()
            refused = Poller(daemon, revision).opening
            self.assertEqual((refused.status, refused.response.json["message"]), (503, "Too many sessions"))
            self.assertEqual((daemon.counters.turned_away, daemon.counters.rejected), (1, {}))
            self.assertEqual((daemon.counters.full, daemon.counters.evicted), ({"polls": 1}, {}))
            daemon.websocket()
            first.post("1")
            self.assertEqual(Poller(daemon, revision).opening.status, 200)

    def test_who_has_not_joined_gives_way_and_first_who_has_not_come_back(self) -> None:
        for revision in REVISIONS:
            daemon = Daemon(max_polls=3)
            joined, back, new = (Poller(daemon, revision) for _ in range(3))
            joined.join()
            back.post("6")
            fourth = Poller(daemon, revision)
            self.assertEqual([one.lives for one in (joined, back, new, fourth)], [True, True, False, True])
            fourth.join()
            Poller(daemon, revision).join()
            self.assertEqual([one.lives for one in (joined, back, fourth)], [True, False, True])
            self.assertEqual(Poller(daemon, revision).opening.status, 503)
            self.assertEqual((daemon.counters.full, daemon.counters.evicted), ({"polls": 1}, {"polls": 2}))

    def test_an_address_that_floods_keeps_neither_itself_nor_others_out(self) -> None:
        daemon = Daemon(max_polls=100, max_polls_per_address=10)

        def flood() -> None:
            for _ in range(8):
                daemon.connect().arrive(request("GET", "EIO=4&transport=polling"))

        flood()
        for peer in ("192.0.2.7", "192.0.2.8"):
            flood()
            poller = Poller(daemon, peer=peer)
            flood()
            poller.post("40/kschat,")
            flood()
            flood()
            self.assertTrue(any(text.startswith("40/kschat") for text in poller.take()))
        self.assertEqual(daemon.front.polls.of("192.0.2.7"), 10)
        self.assertEqual(set(daemon.counters.evicted), {"polls_per_address"})
        self.assertLessEqual(len(daemon.sessions), 11)

    def test_who_never_comes_back_is_forgotten_soon(self) -> None:
        for revision in REVISIONS:
            daemon = Daemon()
            poller = Poller(daemon, revision)
            daemon.clock.advance(SECOND_REQUEST_TIMEOUT - 0.1)
            self.assertTrue(poller.lives)
            daemon.clock.advance(0.2)
            self.assertEnded(poller, Reason.CONNECT_TIMEOUT)
            self.assertEqual(daemon.sessions._lingering, {})

    def test_who_has_come_back_is_waited_for(self) -> None:
        for revision in REVISIONS:
            for method in ("GET", "POST"):
                daemon = Daemon()
                poller = Poller(daemon, revision)
                poller.ask(method, b"" if method == "GET" else b"6" if revision == 4 else b"0:")
                daemon.clock.advance(SECOND_REQUEST_TIMEOUT + 1)
                self.assertTrue(poller.lives)

    def test_who_joins_nothing_is_told_and_forgotten(self) -> None:
        for revision in REVISIONS:
            daemon = Daemon(connect_timeout=5)
            poller = Poller(daemon, revision)
            asked = poller.get()
            daemon.clock.advance(5.1)
            self.assertEqual(poller.texts(asked), ["1"])
            self.assertEnded(poller, Reason.CONNECT_TIMEOUT)


class SendingData(PollingTests):
    def test_packets_arrive_in_their_order_and_are_answered_by_ok(self) -> None:
        for daemon, poller in self.each():
            asked = poller.post(*[f'42/kschat,["x",{number}]' for number in range(100)])
            daemon.take_turns()
            self.assertEqual((asked.status, asked.response.body), (200, b"ok"))
            self.assertEqual(daemon.recorder.of("event"), [("x", number) for number in range(100)])

    def test_a_sid_that_is_not_known(self) -> None:
        for revision in REVISIONS:
            for method in ("GET", "POST", "PUT"):
                for sid in ("x", "", "AAAAAAAAAAAAAAAAAAAA"):
                    query = f"EIO={revision}&transport=polling&sid={sid}"
                    asked = PendingRequest(
                        Daemon().connect(), request(method, query, b"1:2" if method == "POST" else b"")
                    )
                    self.assertEqual((asked.status, asked.code), (400, 1))

    def test_binary_arrives(self) -> None:
        bodies = {
            4: [b'451-/kschat,["x",{"_placeholder":true,"num":0}]\x1ebAAH/'],
            3: [
                b'47:451-/kschat,["x",{"_placeholder":true,"num":0}]6:b4AAH/',
                b'\x00\x04\x07\xff451-/kschat,["x",{"_placeholder":true,"num":0}]\x01\x04\xff\x04\x00\x01\xff',
            ],
        }
        for daemon, poller in self.each():
            for body in bodies[poller.revision]:
                for kind in ("application/octet-stream", "text/plain;charset=UTF-8"):
                    asked = poller.ask("POST", body, "", None, f"Content-Type: {kind}")
                    self.assertEqual(asked.response.body, b"ok")
                    event = ("event", "x", {"_placeholder": True, "num": 0}, b"\x00\x01\xff")
                    self.assertEqual(daemon.recorder.log.pop(), event)

    def test_a_body_that_is_none_ends_the_session(self) -> None:
        for body in (b"abc", b"", b"7", b"4:4", b"bad!", b"\x00\xff"):
            for _, poller in self.each():
                asked = poller.ask("POST", body)
                self.assertEqual((asked.status, asked.code), (400, 3), body)
                self.assertEnded(poller, Reason.PARSE_ERROR)

    def test_a_packet_that_has_no_place_ends_the_session(self) -> None:
        for packet in ("0", "5", "42/other,[]", "42[]"):
            for _, poller in self.each():
                asked = poller.post(packet)
                self.assertEqual((asked.status, asked.code), (400, 3), packet)
                self.assertEnded(poller, Reason.PARSE_ERROR)

    def test_the_get_that_waits_is_told_the_end_that_a_body_brings(self) -> None:
        for _, poller in self.each():
            waiting = poller.get()
            poller.ask("POST", b"abc")
            self.assertEqual(poller.texts(waiting), ["1"])

    def test_nothing_is_read_behind_a_packet_that_ends_the_session(self) -> None:
        for daemon, poller in self.each():
            poller.post('42/kschat,["a"]', "1", '42/kschat,["b"]')
            self.assertEqual(daemon.recorder.of("event"), [("a",)])

    def test_two_posts_at_once_end_the_session(self) -> None:
        for daemon, poller in self.each():
            waiting = poller.get()
            head = request("POST", poller._query, b"x" * 50)[:-30]
            first = PendingRequest(daemon.connect(), head)
            second = poller.post("2")
            self.assertEqual((second.status, second.code), (400, 1))
            self.assertEqual(poller.texts(waiting), ["1"])
            first.wire.arrive(b"x" * 30)
            self.assertEqual(first.status, 400)
            self.assertEqual(daemon.recorder.of("event"), [])
            self.assertEnded(poller, Reason.TRANSPORT_ERROR)

    def test_posts_one_after_another_on_one_connection(self) -> None:
        for daemon, poller in self.each():
            body, _ = payload.encode([Frame(b'42/kschat,["x"]')], poller.revision, 1000)
            wire = daemon.connect()
            wire.arrive(3 * request("POST", poller._query, body.payload))
            daemon.take_turns()
            self.assertEqual(bytes(wire.taken).count(b"200 OK"), 3)
            self.assertEqual(len(daemon.recorder.of("event")), 3)
            self.assertTrue(poller.lives)

    def test_a_post_that_breaks_off_ends_the_session(self) -> None:
        for daemon, poller in self.each():
            waiting = poller.get()
            first = PendingRequest(daemon.connect(), request("POST", poller._query, b"x" * 50)[:-30])
            first.wire.hang_up()
            self.assertEqual(poller.texts(waiting), ["6"])
            self.assertEnded(poller, Reason.TRANSPORT_CLOSE)

    def test_a_post_that_is_refused_does_not_stand_in_the_way_of_the_next(self) -> None:
        for daemon, poller in self.each(origins=("https://good.example",)):
            bad = poller.ask("POST", b"x", "", None, "Origin: https://evil.example")
            self.assertEqual(bad.status, 403)
            poller.post('42/kschat,["x"]')
            self.assertEqual(daemon.recorder.of("event"), [("x",)])

    def test_a_body_beyond_max_payload_is_refused_while_it_comes_and_ends_the_session(self) -> None:
        for chunked in (False, True):
            for daemon, poller in self.each(bounds=ChannelBounds(max_body=1000), limits=Limits(max_payload=1000)):
                head = f"POST /socket.io/?{poller._query} HTTP/1.1\r\nHost: x\r\n"
                if chunked:
                    asked = PendingRequest(daemon.connect(), f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
                    asked.wire.arrive(b"258\r\n" + b"x" * 600 + b"\r\n")
                    self.assertTrue(asked.parked)
                    asked.wire.arrive(b"258\r\n" + b"x" * 600 + b"\r\n")
                else:
                    asked = PendingRequest(daemon.connect(), f"{head}Content-Length: 1001\r\n\r\n".encode())
                self.assertEqual(asked.status, 413)
                self.assertIsNotNone(asked.wire.lost)
                self.assertEnded(poller, Reason.TRANSPORT_CLOSE)

    def test_what_a_body_brings_about_comes_in_one_answer(self) -> None:
        for daemon, poller in self.each():
            daemon.recorder.on_event = lambda socket, event: socket.ack(event.id or 0, b"[]")
            waiting = poller.get()
            poller.post(*[f'42/kschat,{number}["x"]' for number in range(5)])
            self.assertEqual(poller.texts(waiting), [f"43/kschat,{number}[]" for number in range(5)])

    def test_a_long_body_leaves_others_their_turn(self) -> None:
        for daemon, poller in self.each():
            other = Poller(daemon, poller.revision)
            other.join()
            count = 2 * SLICE + 10
            asked = poller.post(*[f'42/kschat,["x",{number}]' for number in range(count)])
            self.assertTrue(asked.parked)
            self.assertEqual(len(daemon.recorder.of("event")), SLICE)
            other.post('42/kschat,["other",0]')
            daemon.clock.advance(0)
            self.assertEqual(asked.response.body, b"ok")
            expected = [("x", number) for number in range(count)]
            expected.insert(SLICE, ("other", 0))
            self.assertEqual(daemon.recorder.of("event"), expected)

    def test_while_a_long_body_is_read_another_post_ends_the_session(self) -> None:
        for daemon, poller in self.each():
            asked = poller.post(*['42/kschat,["x"]'] * (SLICE + 1))
            second = poller.post("6")
            self.assertEqual((second.status, second.code), (400, 1))
            daemon.clock.advance(0)
            self.assertEqual(asked.response.body, b"ok")
            self.assertEqual(len(daemon.recorder.of("event")), SLICE)
            self.assertEnded(poller, Reason.TRANSPORT_ERROR)

    def test_so_it_does_where_heads_are_not_looked_at(self) -> None:
        for daemon, poller in self.each():
            daemon.site.heads.clear()
            asked = poller.post(*['42/kschat,["x"]'] * (SLICE + 1))
            second = poller.post("6")
            self.assertEqual((second.status, second.code), (400, 3))
            daemon.clock.advance(0)
            self.assertEqual(asked.response.body, b"ok")
            self.assertEnded(poller, Reason.TRANSPORT_ERROR)

    def test_a_connection_that_is_lost_while_a_long_body_is_read_ends_the_session(self) -> None:
        for daemon, poller in self.each():
            asked = poller.post(*['42/kschat,["x"]'] * (SLICE + 1))
            asked.wire.hang_up()
            daemon.clock.advance(0)
            self.assertEqual(len(daemon.recorder.of("event")), SLICE)
            self.assertEnded(poller, Reason.TRANSPORT_CLOSE)

    def test_a_bug_ends_this_session_alone(self) -> None:
        for daemon, poller in self.each():
            other = Poller(daemon, poller.revision)

            def fail(*_: Any) -> None:
                raise ZeroDivisionError

            daemon.recorder.on_event = fail
            asked = poller.post('42/kschat,["x"]')
            self.assertEqual(asked.status, 400)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertTrue(other.lives)
            self.assertFalse(poller.lives)


class LongBodies(PollingTests):
    """Bodies of more packets than one turn reads, each within ``max_payload``."""

    def pump(self, daemon: Daemon, turns: int = 100) -> None:
        for _ in range(turns):
            daemon.clock.advance(0.01)

    def chatting(self, revision: Revision) -> tuple[House, Daemon, Poller]:
        """A client that has joined the chat, and has read the answer."""
        house = House()
        daemon = Daemon(house=house, busy=lambda: house.delivery.waiting >= 500)
        poller = Poller(daemon, revision, f"&token={house.token('1')}")
        poller.post("40/kschat," + json.dumps({"token": house.token("1")}))
        poller.take()
        return house, daemon, poller

    def sends(self, count: int) -> list[str]:
        return [f'42/kschat,{number}["Send",{{"uId":1,"pId":2,"msg":{number}}}]' for number in range(count)]

    def test_all_of_eleven_thousand_small_sends_are_acknowledged(self) -> None:
        for revision in REVISIONS:
            house, daemon, poller = self.chatting(revision)
            posted = poller.post(*self.sends(11_000))
            self.pump(daemon)
            # Who asks for nothing until then has the answer.
            self.assertEqual(posted.response.body, b"ok")
            texts: list[str] = []
            while not (asked := poller.get()).parked:
                texts += poller.texts(asked)
                self.pump(daemon)
            acks = [text for text in texts if text.startswith("43/kschat,")]
            self.assertEqual(len(acks), 11_000)
            self.assertTrue(all("success" in text for text in acks))
            self.assertEqual(sum(map(len, house.store.batches)), 11_000)
            self.assertTrue(poller.lives)

    def test_a_store_that_is_slow_ends_nobody(self) -> None:
        for revision in REVISIONS:
            house, daemon, poller = self.chatting(revision)
            house.store.answers.held = True
            poller.post(*self.sends(16_000))
            self.pump(daemon, 300)
            self.assertLess(house.delivery.waiting, 6_000)
            house.store.answers.held = False
            house.store.answers.give()
            texts: list[str] = []
            self.pump(daemon)
            while not (asked := poller.get()).parked:
                texts += poller.texts(asked)
                self.pump(daemon)
            self.assertEqual(sum("success" in text for text in texts), 16_000)
            self.assertTrue(poller.lives)

    def test_packets_that_mean_nothing_may_be_as_many(self) -> None:
        for daemon, poller in self.each():
            posted = poller.post(*["6"] * 300_000, '42/kschat,["x"]')
            self.pump(daemon, 1300)
            self.assertEqual(posted.response.body, b"ok")
            self.assertEqual(daemon.recorder.of("event"), [("x",)])

    def test_packets_that_are_answered_at_once_wait_for_gets(self) -> None:
        daemon = Daemon()
        poller = Poller(daemon, 3)
        poller.join()
        posted = poller.post(*["2"] * 200_000, '42/kschat,["x"]')
        self.pump(daemon)
        self.assertEqual(posted.response.body, b"ok")
        self.assertEqual(daemon.recorder.of("event"), [])
        # The one that comes meanwhile is read after it, and answered then; one more would be too many.
        second = poller.post('42/kschat,["y"]')
        self.assertTrue(second.parked)
        pongs = 0
        while not (asked := poller.get()).parked:
            pongs += len(poller.texts(asked))
            self.pump(daemon)
        self.assertEqual(pongs, 200_000)
        self.assertEqual(second.response.body, b"ok")
        self.assertEqual(daemon.recorder.of("event"), [("x",), ("y",)])
        self.assertTrue(poller.lives)

    def test_two_posts_behind_one_that_waits_for_gets_end_the_session(self) -> None:
        daemon = Daemon(max_unsent=10_000)
        poller = Poller(daemon, 3)
        poller.join()
        poller.post(*["2"] * 1000)
        self.pump(daemon)
        second, third = poller.post("2"), poller.post("2")
        self.pump(daemon)
        self.assertEqual((second.response.body, third.status), (b"ok", 400))
        self.assertEnded(poller, Reason.TRANSPORT_ERROR)

    def test_a_heartbeat_is_read_however_much_waits_for_a_get(self) -> None:
        daemon = Daemon(ping_interval=1, ping_timeout=1)
        poller = Poller(daemon, 4)
        poller.join()
        for _ in range(5):
            daemon.recorder.sockets[-1].emit(b'["x","%b"]' % (b"y" * 700_000))
            daemon.clock.advance(1)
            self.assertEqual(poller.post("3").response.body, b"ok")
        self.assertTrue(poller.lives)

    def test_a_fault_in_the_rest_ends_the_session(self) -> None:
        daemon = Daemon(max_unsent=10_000)
        poller = Poller(daemon, 3)
        poller.join()
        posted = poller.ask("POST", b"1:2" * 300 + b"9:2")
        self.pump(daemon)
        self.assertEqual(posted.response.body, b"ok")
        while poller.lives and not (asked := poller.get()).parked:
            asked.response  # noqa: B018 - it is there
            self.pump(daemon)
        self.assertEnded(poller, Reason.PARSE_ERROR)

    def test_what_is_left_of_a_body_at_the_end_is_held_no_longer(self) -> None:
        """Found by the simulation: each such end cost the daemon's budget the body for ever."""
        for daemon, poller in self.each():
            posted = poller.post(*['42/kschat,["x"]'] * 10_000)
            posted.wire.hang_up()
            self.assertFalse(poller.lives)
            self.pump(daemon)
            self.assertEqual(daemon.front.budget.held, 0)

    def test_the_rest_is_read_before_what_comes_by_another_transport(self) -> None:
        daemon = Daemon(max_unsent=10_000)
        poller = Poller(daemon, 3)
        poller.join()
        posted = poller.post(*["2"] * 200, '42/kschat,["x"]')
        self.pump(daemon)
        self.assertEqual(posted.response.body, b"ok")
        second = poller.post('42/kschat,["y"]')
        peer = poller.websocket()
        for text in ("2probe", "5", '42/kschat,["z"]'):
            peer.send(text)
        daemon.take_turns()
        self.pump(daemon)
        self.assertEqual(daemon.recorder.of("event"), [("x",), ("y",), ("z",)])
        self.assertEqual(second.response.body, b"ok")
        self.assertEqual(peer.texts(), ["3probe", *["3"] * 200])


class ReceivingData(PollingTests):
    def test_a_get_waits_for_what_comes(self) -> None:
        for daemon, poller in self.each():
            waiting = poller.get()
            self.assertTrue(waiting.parked)
            daemon.recorder.sockets[-1].emit(b'["x",1]')
            self.assertEqual(poller.texts(waiting), ['42/kschat,["x",1]'])

    def test_what_was_sent_before_comes_at_once_and_in_its_order(self) -> None:
        for daemon, poller in self.each():
            for number in range(5):
                daemon.recorder.sockets[-1].emit(b'["x",%d]' % number)
            self.assertEqual(poller.take(), [f'42/kschat,["x",{number}]' for number in range(5)])
            self.assertTrue(poller.get().parked)

    def test_a_batch_comes_in_one_answer(self) -> None:
        for daemon, poller in self.each():
            waiting = poller.get()
            daemon.cork.hold()
            for number in range(5):
                daemon.recorder.sockets[-1].emit(b'["x",%d]' % number)
            self.assertTrue(waiting.parked)
            daemon.cork.release()
            self.assertEqual(len(poller.texts(waiting)), 5)

    def test_binary_comes_packed_in_revision_3_and_as_base64_otherwise(self) -> None:
        for revision, more, kind in (
            (3, "", "application/octet-stream"),
            (3, "&b64=1", "text/plain; charset=UTF-8"),
            (4, "", "text/plain; charset=UTF-8"),
        ):
            daemon = Daemon()
            poller = Poller(daemon, revision, more)  # type: ignore[arg-type]
            poller.join()
            daemon.recorder.sockets[-1].emit(b'["x",{"_placeholder":true,"num":0}]', [b"\x01\x02"])
            response = poller.get().response
            self.assertEqual(response.headers["content-type"], kind)
            *_, last = payload.decode(response.body, poller.revision)
            expected = {"application/octet-stream": Frame(b"\x04\x01\x02", True)}
            self.assertEqual(last, expected.get(kind, Frame(b"b4AQI=" if revision == 3 else b"bAQI=")))

    def test_two_gets_at_once_end_the_session(self) -> None:
        for _, poller in self.each():
            first, second = poller.get("&t=a"), poller.get("&t=b")
            self.assertEqual(poller.texts(first), ["1"])
            self.assertEqual((second.status, second.code), (400, 3))
            self.assertEnded(poller, Reason.TRANSPORT_ERROR)

    def test_a_request_behind_the_one_that_the_session_s_end_answers_is_answered_too(self) -> None:
        """It is read while the session ends; who leaves its connection open would have it for ever."""
        for reason in (Reason.FORCED_CLOSE, Reason.PING_TIMEOUT, Reason.TRANSPORT_CLOSE):
            for method in ("GET", "POST"):
                for daemon, poller in self.each():
                    waiting = poller.get()
                    poller.ask(method, b"2" * (method == "POST"), wire=waiting.wire)
                    daemon.sessions[poller.sid].session.close(reason)
                    daemon.take_turns()
                    self.assertEqual(waiting.response.status, 200)
                    behind = Response(waiting.response.rest)
                    self.assertEqual((behind.status, behind.json["code"]), (400, 1))
                    self.assertEnded(poller, reason)

    def test_a_time_that_several_gets_may_have_in_common_does_not_make_them_one(self) -> None:
        """.NET's client sends the second; others that of the start, or nothing."""
        for daemon, poller in self.each():
            for stamp in ("1796000000", "1796000000123", "1", ""):
                for _ in range(3):
                    daemon.recorder.sockets[-1].emit(b'["x"]')
                    self.assertEqual(poller.get(f"&t={stamp}").status, 200, stamp)

    def test_a_get_that_comes_again_proves_nothing_and_ends_the_session(self) -> None:
        """Browsers and proxies repeat a GET whose connection broke; its answer may be lost."""
        for daemon, poller in self.each():
            socket = daemon.recorder.sockets[-1]
            waiting = poller.get("&t=a")
            socket.emit(b'["x"]')
            socket.ask_confirmation(7)
            self.assertEqual(len(poller.texts(waiting)), 1)
            waiting.wire.hang_up()
            again = poller.get("&t=a")
            self.assertEqual((again.status, again.code), (400, 3))
            self.assertEqual(daemon.recorder.of("confirmed"), [])
            self.assertEnded(poller, Reason.TRANSPORT_ERROR)

    def test_stamps_that_repeat_by_chance_mean_nothing(self) -> None:
        for daemon, poller in self.each():
            for _ in range(3):
                waiting = poller.get("&t=a")
                daemon.recorder.sockets[-1].emit(b'["x"]')
                self.assertEqual(len(poller.texts(waiting)), 1)

    def test_a_get_that_is_given_up_ends_the_session(self) -> None:
        for _, poller in self.each():
            poller.get().wire.finish()
            self.assertEnded(poller, Reason.TRANSPORT_CLOSE)

    def test_connections_that_end_after_the_answer_mean_nothing(self) -> None:
        for daemon, poller in self.each():
            waiting = poller.get()
            daemon.recorder.sockets[-1].emit(b'["x"]')
            waiting.wire.hang_up()
            self.assertTrue(poller.lives)
            self.assertTrue(poller.get().parked)

    def test_an_answer_is_no_longer_than_max_payload(self) -> None:
        for daemon, poller in self.each(limits=Limits(max_payload=1000)):
            socket = daemon.recorder.sockets[-1]
            sent = [b'["x","%b"]' % (b"y" * size) for size in (300, 300, 300, 300, 2000, 1, 1)]
            for one in sent:
                socket.emit(one)
            received: list[str] = []
            while len(received) < len(sent):
                asked = poller.get()
                texts = poller.texts(asked)
                self.assertTrue(len(texts) == 1 or len(asked.response.body) <= 1000)
                received += texts
            self.assertEqual(received, ["42/kschat," + one.decode() for one in sent])

    def test_a_get_waits_however_long_answers_may_take_otherwise(self) -> None:
        for daemon, poller in self.each(
            ping_interval=1000, connect_timeout=5000, bounds=ChannelBounds(answer_timeout=3)
        ):
            waiting = poller.get()
            daemon.clock.advance(500)
            daemon.recorder.sockets[-1].emit(b'["x"]')
            self.assertEqual(len(poller.texts(waiting)), 1)
            daemon.clock.advance(3.1)
            daemon.clock.advance(0)
            self.assertTrue(waiting.wire.aborted)

    def test_a_connection_carries_one_request_after_another(self) -> None:
        for daemon, poller in self.each():
            wire = daemon.connect()
            for number in range(3):
                asked = poller.ask("GET", b"", f"&t={number}", wire)
                daemon.recorder.sockets[-1].emit(b'["x"]')
                self.assertEqual(len(poller.texts(asked)), 1)
            self.assertIsNone(wire.lost)
            asked = poller.ask("GET", b"", "", wire, "Connection: close")
            daemon.recorder.sockets[-1].emit(b'["x"]')
            self.assertEqual(len(poller.texts(asked)), 1)
            self.assertIsNotNone(wire.lost)

    def test_other_methods_are_refused_and_the_session_goes_on(self) -> None:
        for _, poller in self.each():
            for method in ("HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "SPAM"):
                asked = poller.ask(method)
                self.assertEqual(asked.status, 400, method)
                if method != "HEAD":
                    self.assertEqual(asked.code, 3)
            self.assertTrue(poller.get().parked)

    def test_another_transport_or_revision_is_refused_and_the_session_goes_on(self) -> None:
        for daemon, poller in self.each():
            sid, other = poller.sid, 7 - poller.revision
            for query, code in (
                (f"EIO={poller.revision}&transport=websocket", 3),
                (f"EIO={poller.revision}&transport=smoke", 0),
                (f"EIO={poller.revision}", 0),
                (f"EIO={other}&transport=polling", 3),
                ("EIO=5&transport=polling", 5),
                ("transport=polling", 5),
            ):
                asked = PendingRequest(daemon.connect(), request("GET", f"{query}&sid={sid}"))
                self.assertEqual((asked.status, asked.code), (400, code), query)
            self.assertTrue(poller.get().parked)

    def test_a_session_on_a_websocket_takes_no_polls(self) -> None:
        daemon = Daemon()
        daemon.joined()
        (sid,) = daemon.sessions
        for method in ("GET", "POST"):
            asked = PendingRequest(daemon.connect(), request(method, f"EIO=4&transport=polling&sid={sid}"))
            self.assertEqual((asked.status, asked.code), (400, 3))


class Compression(PollingTests):
    def big(self, accept: str | None, size: int = 5000) -> tuple[Any, bytes]:
        daemon = Daemon()
        poller = Poller(daemon, 4, "", [f"Accept-Encoding: {accept}"] if accept is not None else [])
        poller.join()
        daemon.recorder.sockets[-1].emit(b'["x","%b"]' % (b"y" * size))
        return poller.get().response, b'42/kschat,["x","%b"]' % (b"y" * size)

    def test_large_bodies_are_compressed_for_who_takes_it(self) -> None:
        for accept in ("gzip", "deflate, gzip;q=0.5, br", "GZIP", "x-gzip"):
            response, body = self.big(accept)
            self.assertEqual(response.headers["content-encoding"], "gzip", accept)
            self.assertLess(len(response.body), 200)
            self.assertEqual(gzip.decompress(response.body), body)

    def test_others_have_them_as_they_are(self) -> None:
        for accept in (None, "", "identity", "gzip;q=0", "gzip; q=0.000", "br"):
            response, body = self.big(accept)
            self.assertNotIn("content-encoding", response.headers, accept)
            self.assertEqual(response.body, body)

    def test_small_ones_are_not_worth_it(self) -> None:
        response, body = self.big("gzip", 1000)
        self.assertEqual(response.body, body)


class Jsonp(PollingTests):
    def script(self, asked: PendingRequest, number: str) -> str:
        """The body that a script hands over."""
        response = asked.response
        self.assertEqual(response.headers["content-type"], "text/javascript; charset=UTF-8")
        text = response.body.decode()
        head = f"___eio[{number}]("
        self.assertTrue(text.startswith(head) and text.endswith(");"), text)
        body = json.loads(text[len(head) : -2])
        assert isinstance(body, str)
        return body

    def test_answers_are_scripts_and_bodies_are_forms(self) -> None:
        for revision in REVISIONS:
            daemon = Daemon()
            begin = f"EIO={revision}&transport=polling&j=12"
            opening = self.script(PendingRequest(daemon.connect(), request("GET", begin)), "12")
            sid = json.loads(next(payload.decode(opening.encode(), revision)).payload[1:])["sid"]
            query = f"{begin}&sid={sid}"
            body = "d=" + ("10%3A40%2Fkschat%2C" if revision == 3 else "40%2Fkschat%2C")
            form = ("Content-Type: application/x-www-form-urlencoded",)
            self.assertEqual(
                PendingRequest(daemon.connect(), request("POST", query, body.encode(), *form)).response.body, b"ok"
            )
            waiting = PendingRequest(daemon.connect(), request("GET", query))
            self.assertIn("40/kschat", self.script(waiting, "12"))
            daemon.recorder.sockets[-1].emit('["x","\u2028</script>"]'.encode())
            text = self.script(PendingRequest(daemon.connect(), request("GET", query)), "12")
            self.assertIn('["x","\u2028</script>"]', text)

    def test_nothing_but_digits_goes_into_the_script(self) -> None:
        asked = PendingRequest(Daemon().connect(), request("GET", "EIO=4&transport=polling&j=1)%3Balert(2"))
        self.script(asked, "12")
        self.assertEqual(asked.response.headers["x-content-type-options"], "nosniff")

    def test_binary_is_text_in_a_script(self) -> None:
        for revision in REVISIONS:
            daemon = Daemon()
            poller = Poller(daemon, revision)
            poller.join()
            daemon.recorder.sockets[-1].emit(b'["x",{"_placeholder":true,"num":0}]', [b"\x01\x02"])
            self.assertIn("bAQI=" if revision == 4 else "6:b4AQI=", self.script(poller.get("&j=0"), "0"))

    def test_fields_of_a_form_do_not_pass_for_the_url_s(self) -> None:
        daemon = Daemon()
        poller = Poller(daemon, 4)
        poller.join()
        form = b"sid=other&transport=smoke&EIO=9&d=2%5B%5D"
        asked = poller.ask("POST", form, "&j=0", None, "Content-Type: application/x-www-form-urlencoded")
        self.assertEqual(asked.code, 3)  # a ping has no place in revision 4, but it was read


class Heartbeat(PollingTests):
    def test_revision_4_the_server_asks_and_the_client_answers(self) -> None:
        daemon = Daemon(ping_interval=0.3, ping_timeout=0.2)
        poller = Poller(daemon, 4)
        poller.join()
        for _ in range(5):
            waiting = poller.get()
            daemon.clock.advance(0.29)
            self.assertTrue(waiting.parked)
            daemon.clock.advance(0.03)
            self.assertEqual(poller.texts(waiting), ["2"])
            self.assertEqual(poller.post("3").response.body, b"ok")
        self.assertTrue(poller.lives)

    def test_revision_3_the_client_asks_and_the_server_answers(self) -> None:
        daemon = Daemon(ping_interval=0.3, ping_timeout=0.2)
        poller = Poller(daemon, 3)
        poller.join()
        for _ in range(5):
            waiting = poller.get()
            daemon.clock.advance(0.33)
            self.assertEqual(poller.post("2").response.body, b"ok")
            self.assertEqual(poller.texts(waiting), ["3"])
        self.assertTrue(poller.lives)

    def test_who_does_not_answer_is_forgotten(self) -> None:
        for daemon, poller in self.each(ping_interval=0.3, ping_timeout=0.2):
            waiting = poller.get()
            daemon.clock.pump([0.31, 0.05, 0.16])
            self.assertEqual(poller.texts(waiting), ["2"] if poller.revision == 4 else ["6"])
            self.assertEnded(poller, Reason.PING_TIMEOUT)

    def test_a_hidden_page_whose_timers_wait_asks_again_and_so_is_alive(self) -> None:
        daemon = Daemon(ping_interval=25, ping_timeout=20)
        poller = Poller(daemon, 3)
        poller.join()
        for _ in range(5):
            waiting = poller.get()
            daemon.clock.advance(30.02)
            self.assertEqual(poller.texts(waiting), ["6"])
        self.assertTrue(poller.lives)

    def test_who_stops_asking_is_forgotten_whatever_waits(self) -> None:
        for daemon, poller in self.each(ping_interval=0.3, ping_timeout=0.2):
            daemon.recorder.sockets[-1].emit(b'["x"]')
            daemon.clock.pump([0.31, 0.05, 0.16])
            self.assertEnded(poller, Reason.PING_TIMEOUT)


class Close(PollingTests):
    def test_a_client_that_closes_has_its_request_back(self) -> None:
        for _, poller in self.each():
            waiting = poller.get()
            self.assertEqual(poller.post("1").response.body, b"ok")
            self.assertEqual(waiting.response.body, b"6" if poller.revision == 4 else b"1:6")
            self.assertEnded(poller, Reason.TRANSPORT_CLOSE)

    def test_a_client_that_waits_is_told_of_an_end_of_ours(self) -> None:
        for daemon, poller in self.each():
            waiting = poller.get()

            def say(socket: Socket, reason: Reason) -> None:
                socket.emit(b'["bye"]')

            daemon.recorder.on_closing = say
            daemon.engine.close_all(Reason.SHUTTING_DOWN)
            expected = ['42["bye"]'] * (poller.revision == 3) + ['42/kschat,["bye"]', "1"]
            self.assertEqual(poller.texts(waiting), expected)
            self.assertEnded(poller, Reason.SHUTTING_DOWN)

    def test_at_the_daemon_s_end_one_between_two_gets_is_told_by_the_next(self) -> None:
        for daemon, poller in self.each():
            daemon.engine.close_all(Reason.SHUTTING_DOWN)
            self.assertEqual(daemon.sessions.lingering, 1)
            self.assertEqual(poller.take(), ["1"])
            self.assertEqual(daemon.sessions.lingering, 0)
            self.assertEnded(poller, Reason.SHUTTING_DOWN)

    def test_last_words_wait_for_the_next_get(self) -> None:
        for daemon, poller in self.each():
            daemon.recorder.sockets[-1].emit(b'["bye"]')
            poller.daemon.sessions[poller.sid].session.close(Reason.FORCED_CLOSE)
            self.assertEqual(poller.post("2").code, 1)
            self.assertEqual(poller.take(), ['42/kschat,["bye"]', "1"])
            self.assertEnded(poller, Reason.FORCED_CLOSE)

    def test_last_words_that_fit_into_no_answer_come_in_several(self) -> None:
        for daemon, poller in self.each(limits=Limits(max_payload=1000)):
            for _ in range(5):
                daemon.recorder.sockets[-1].emit(b'["x","%b"]' % (b"y" * 700))
            daemon.engine.close_all(Reason.FORCED_CLOSE)
            received = [text for _ in range(5) for text in poller.take()]
            self.assertEqual((len(received), received[-1]), (6, "1"))
            self.assertEnded(poller, Reason.FORCED_CLOSE)

    def test_last_words_are_not_kept_for_ever_nor_for_strangers(self) -> None:
        for daemon, poller in self.each(origins=("https://good.example",)):
            daemon.recorder.sockets[-1].emit(b'["bye"]')
            daemon.engine.close_all(Reason.FORCED_CLOSE)
            evil = poller.ask("GET", b"", "", None, "Origin: https://evil.example")
            self.assertEqual(evil.status, 400)
            daemon.clock.advance(LAST_WORDS_TIMEOUT + 0.1)
            self.assertEqual(len(daemon.sessions._lingering), 0)
            self.assertEnded(poller, Reason.FORCED_CLOSE)

    def test_nothing_is_kept_for_who_broke_the_rules(self) -> None:
        for daemon, poller in self.each():
            daemon.recorder.sockets[-1].emit(b'["bye"]')
            poller.ask("POST", b"abc")
            self.assertEnded(poller, Reason.PARSE_ERROR)
            self.assertEqual(len(daemon.sessions._lingering), 0)

    def test_after_its_end_nothing_of_a_session_stays(self) -> None:
        for daemon, poller in self.each():
            poller.get()
            poller.post("1")
            self.assertEqual((list(daemon.sessions), daemon.front.polls.taken, daemon.sessions._deadlines), ([], 0, {}))


class Proof(PollingTests):
    def test_the_next_get_proves_what_stood_in_an_answer(self) -> None:
        for daemon, poller in self.each():
            socket = daemon.recorder.sockets[-1]
            waiting = poller.get()
            socket.emit(b'["x"]')
            self.assertTrue(socket.ask_confirmation(7))
            self.assertEqual(len(poller.texts(waiting)), 1)
            poller.post('42/kschat,["y"]')
            self.assertEqual(daemon.recorder.of("confirmed"), [])
            self.assertTrue(poller.get().parked)
            self.assertEqual(daemon.recorder.of("confirmed"), [(7,)])

    def test_what_waits_in_the_outbox_is_not_proved_by_the_get_that_takes_it(self) -> None:
        for daemon, poller in self.each():
            socket = daemon.recorder.sockets[-1]
            socket.emit(b'["x"]')
            socket.ask_confirmation(7)
            self.assertEqual(len(poller.take()), 1)
            self.assertEqual(daemon.recorder.of("confirmed"), [])
            poller.get()
            self.assertEqual(daemon.recorder.of("confirmed"), [(7,)])

    def test_of_what_was_cut_the_whole_is_awaited(self) -> None:
        for daemon, poller in self.each(limits=Limits(max_payload=1000)):
            socket = daemon.recorder.sockets[-1]
            for _ in range(3):
                socket.emit(b'["x","%b"]' % (b"y" * 700))
            socket.ask_confirmation(7)
            for _ in range(3):
                self.assertEqual(len(poller.take()), 1)
                self.assertEqual(daemon.recorder.of("confirmed"), [])
            poller.get()
            self.assertEqual(daemon.recorder.of("confirmed"), [(7,)])

    def test_who_is_told_may_ask_for_the_next_at_once(self) -> None:
        for daemon, poller in self.each():
            socket = daemon.recorder.sockets[-1]

            def ask_again(socket: Socket, number: int) -> None:
                if number:
                    socket.ask_confirmation(number - 1)

            daemon.recorder.on_confirmed = ask_again
            socket.emit(b'["x"]')
            socket.ask_confirmation(3)
            poller.take()
            poller.get()
            self.assertEqual(daemon.recorder.of("confirmed"), [(3,), (2,), (1,), (0,)])

    def test_asked_of_what_was_read_already_a_get_is_let_go_for_its_answer(self) -> None:
        for daemon, poller in self.each():
            socket = daemon.recorder.sockets[-1]
            waiting = poller.get()
            socket.ask_confirmation(7)
            self.assertEqual(poller.texts(waiting), ["6"])
            poller.get()
            self.assertEqual(daemon.recorder.of("confirmed"), [(7,)])

    def test_a_bug_in_who_is_told_ends_this_session_alone(self) -> None:
        for daemon, poller in self.each():

            def fail(*_: Any) -> None:
                raise ZeroDivisionError

            daemon.recorder.on_confirmed = fail
            daemon.recorder.sockets[-1].emit(b'["x"]')
            daemon.recorder.sockets[-1].ask_confirmation(1)
            poller.take()
            self.assertEqual(poller.texts(poller.get()), ["1"])
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class SlowReaders(PollingTests):
    def test_what_waits_is_bounded_in_bytes(self) -> None:
        for daemon, poller in self.each(max_unsent=10_000):
            socket = daemon.recorder.sockets[-1]
            for _ in range(20):
                socket.emit(b'["x","%b"]' % (b"y" * 1000))
            self.assertEnded(poller, Reason.SLOW_READER)

    def test_many_small_packets_are_bounded_as_well(self) -> None:
        for daemon, poller in self.each(max_unsent=10_000):
            if poller.revision == 3:
                for _ in range(300):
                    poller.post("2")
            else:
                for _ in range(300):
                    daemon.recorder.sockets[-1].emit(b'["x"]')
            self.assertFalse(poller.lives)

    def test_who_takes_what_comes_may_have_any_amount(self) -> None:
        for daemon, poller in self.each(max_unsent=10_000):
            for _ in range(20):
                daemon.recorder.sockets[-1].emit(b'["x","%b"]' % (b"y" * 1000))
                self.assertEqual(len(poller.take()), 1)
            self.assertTrue(poller.lives)

    def test_a_transport_says_when_its_peer_does_not_keep_up(self) -> None:
        for daemon, poller in self.each():
            transport = daemon.sessions[poller.sid].session.transport
            self.assertFalse(transport.congested)
            daemon.recorder.sockets[-1].emit(b'["x","%b"]' % (b"y" * CONGESTED))
            self.assertTrue(transport.congested)
            poller.take()
            self.assertFalse(transport.congested)


class Cors(PollingTests):
    ORIGIN = "https://page.example"

    def test_the_caller_s_origin_is_named_with_credentials(self) -> None:
        for origins in (("*",), (self.ORIGIN,)):
            for revision in REVISIONS:
                poller = Poller(Daemon(origins=origins), revision, "", [f"Origin: {self.ORIGIN}"])
                for asked in (poller.opening, poller.post("40/kschat,"), poller.ask("PUT")):
                    headers = asked.response.headers
                    self.assertEqual(headers["access-control-allow-origin"], self.ORIGIN)
                    self.assertEqual(headers["access-control-allow-credentials"], "true")
                    self.assertIn("Origin", headers["vary"])

    def test_a_request_of_no_page_is_told_nothing(self) -> None:
        self.assertNotIn("access-control-allow-origin", Poller(Daemon()).opening.response.headers)

    def test_other_pages_are_forbidden_at_every_request(self) -> None:
        for revision in REVISIONS:
            daemon = Daemon(origins=(self.ORIGIN,))
            poller = Poller(daemon, revision)
            for asked in (
                Poller(daemon, revision, "", ["Origin: https://evil.example"]).opening,
                poller.ask("GET", b"", "", None, "Origin: https://evil.example"),
                poller.ask("POST", b"1", "", None, "Origin: null"),
            ):
                self.assertEqual((asked.status, asked.code), (403, 4))
                self.assertNotIn("access-control-allow-origin", asked.response.headers)
            self.assertTrue(poller.lives)

    def test_the_daemon_s_own_page_may(self) -> None:
        poller = Poller(Daemon(origins=(self.ORIGIN,)), 4, "", ["Origin: http://chat.example"])
        self.assertEqual(poller.opening.status, 200)

    def preflight(self, daemon: Daemon, origin: str, headers: str = "content-type, x-a") -> Any:
        data = request(
            "OPTIONS",
            "EIO=4&transport=polling&sid=x",
            b"",
            f"Origin: {origin}",
            "Access-Control-Request-Method: POST",
            f"Access-Control-Request-Headers: {headers}",
        )
        return PendingRequest(daemon.connect(), data).response

    def test_a_browser_that_asks_before_is_answered(self) -> None:
        response = self.preflight(Daemon(origins=(self.ORIGIN,)), self.ORIGIN)
        self.assertEqual((response.status, response.body), (204, b""))
        self.assertEqual(response.headers["access-control-allow-origin"], self.ORIGIN)
        self.assertEqual(response.headers["access-control-allow-methods"], "GET, POST")
        self.assertEqual(response.headers["access-control-allow-headers"], "content-type, x-a")

    def test_it_is_refused_to_other_pages(self) -> None:
        response = self.preflight(Daemon(origins=(self.ORIGIN,)), "https://evil.example")
        self.assertEqual(response.status, 400)
        self.assertNotIn("access-control-allow-origin", response.headers)

    def test_names_of_headers_that_are_none_are_not_repeated(self) -> None:
        self.assertNotIn(
            "access-control-allow-headers",
            self.preflight(Daemon(origins=(self.ORIGIN,)), self.ORIGIN, "a b; c").headers,
        )
