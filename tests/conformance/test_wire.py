"""What implementers get wrong (WIRE.md, by its numbers), as far as no section of the protocols' documents has it."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.memory import ENGINE, PING_INTERVAL, REVISIONS, SOCKETS, Application, Polling, opened, packets


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.application = Application()


class Requests(Case):
    """1."""

    def test_a_path_that_is_not_served_is_answered(self) -> None:
        for path in ("/", "/nothing/", "/engine.io2/", "/socket.io/nothing"):
            for revision in REVISIONS:
                self.assertEqual(self.application.get(f"EIO={revision}&transport=polling", path).status, 404, path)
                refused = self.application.websocket(f"EIO={revision}&transport=websocket", path).refused
                assert refused is not None
                self.assertEqual(refused.status, 404, path)

    def test_whatever_is_not_4_is_not_taken_for_3(self) -> None:
        for revision in ("2", "5", "33", "3.0", " 3", "%33x", "-3"):
            for query in (f"EIO={revision}&transport=polling", f"transport=polling&EIO={revision}"):
                response = self.application.get(query.replace(" ", "%20")).response
                self.assertEqual((response.status, response.json["code"]), (400, 5), revision)

    def test_of_two_revisions_the_first_counts(self) -> None:
        said = self.application.get("EIO=4&transport=polling&EIO=3").text
        self.assertEqual(said[0], "0")


class Heartbeats(Case):
    """2."""

    def test_times_of_less_than_a_second_are_announced_exactly_and_kept(self) -> None:
        for interval, timeout in ((0.3, 0.2), (0.05, 0.025), (1.5, 0.75), (0.001, 1.0), (25.0, 20.0)):
            application = Application(ping_interval=interval, ping_timeout=timeout)
            for said in (
                Polling(application, 3).said,
                Polling(application, 4).said,
                opened(application.websocket("EIO=4&transport=websocket").read()[0]),
            ):
                announced = (said["pingInterval"], said["pingTimeout"])
                self.assertEqual(announced, (round(interval * 1000), round(timeout * 1000)))
            socket = application.engine(4)
            application.clock.advance(interval + 0.01 * (interval >= 1) + 0.002)
            self.assertEqual(socket.read(), ["2"], interval)


class Ends(Case):
    """7."""

    def test_a_wish_and_an_event_in_one_body_end_the_session_where_the_wish_is_refused(self) -> None:
        for revision in REVISIONS:
            session = Polling(self.application, revision, SOCKETS)
            if revision == 3 and not session.more:
                session.read()
            session.post("40/random,", '42/random,["message"]')
            said = []
            exchange = session.get()
            if exchange.status == 200:
                said = packets(revision, exchange.text)
            self.assertTrue(session.ended, revision)
            self.assertNotIn('42/random,["message-back"]', said)

    def test_a_wish_and_an_event_in_one_body_are_fine_where_it_is_let_in(self) -> None:
        for revision in REVISIONS:
            session = Polling(self.application, revision, SOCKETS)
            if revision == 3 and not session.more:
                session.read()
            session.send("40/custom,", '42/custom,["message",1]')
            self.assertEqual(session.read()[-1], '42/custom,["message-back",1]')

    def test_the_end_of_one_session_is_not_that_of_another(self) -> None:
        for revision in REVISIONS:
            good, bad = Polling(self.application, revision), Polling(self.application, revision)
            self.assertEqual(bad.post("abc").status, 400)
            good.send("4hello")
            self.assertEqual(good.read(), ["4hello"])


class Payloads(Case):
    """8."""

    def test_a_hundred_packets_of_a_burst_come_in_one_body(self) -> None:
        for revision in REVISIONS:
            session = Polling(self.application, revision, SOCKETS)
            if revision == 4:
                session.send("40")
            if not session.more:
                session.read()
            said = [f'42{number}["message-with-ack",{number}]' for number in range(100)]
            session.send(*said)
            self.assertEqual(session.read(), [f"43{number}[{number}]" for number in range(100)])

    def test_halves_of_surrogate_pairs_do_not_end_the_connection(self) -> None:
        for revision in REVISIONS:
            socket = self.application.joined(revision)
            socket.read()
            for text in ('"a\\ud800b"', '"\\udc00"', '"\\udc00\\ud800"', '{"\\ud83d":1}'):
                socket.send(f'42["message",{text}]')
                (answer,) = socket.read()
                event, value = json.loads(str(answer)[2:])
                self.assertEqual(event, "message-back")
                found = json.dumps(value)
                self.assertIn("\\ufffd", found, text)
            self.assertFalse(socket.closed)

    def test_a_pair_is_not_two_halves(self) -> None:
        for revision in REVISIONS:
            socket = self.application.joined(revision)
            socket.read()
            socket.send('42["message","\\ud83d\\ude00"]')
            self.assertEqual(json.loads(str(socket.read()[0])[2:]), ["message-back", "😀"])


class Closing(Case):
    """6, and 11."""

    def test_a_close_packet_ends_a_websocket_at_once_and_not_when_its_time_is_over(self) -> None:
        for revision in REVISIONS:
            for upgraded in (True, False):
                if upgraded:
                    session = Polling(self.application, revision)
                    socket = session.upgrade()
                    socket.send("2probe", "5")
                    self.assertEqual(socket.read(), ["3probe"])
                else:
                    socket = self.application.engine(revision)
                socket.send("1")
                self.assertTrue(socket.closed)

    def test_an_upgraded_session_whose_client_is_silent_is_closed_in_tcp_as_well(self) -> None:
        for revision in REVISIONS:
            session = Polling(self.application, revision, ENGINE)
            socket = session.upgrade()
            socket.send("2probe", "5")
            for _ in range(40):
                self.application.clock.advance(PING_INTERVAL / 4)
            self.assertTrue(socket.closed)
            self.assertIsNotNone(socket.wire.lost)
