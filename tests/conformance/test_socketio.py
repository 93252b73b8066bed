"""Every rule of Socket.IO's protocol, as a client on a WebSocket sees it, by the sections of its documents.

Protocol 4 is what clients 1.x and 2.x speak, on revision 3 of Engine.IO; protocol 5 is for 3.x and 4.x, on revision 4.
"""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.memory import PING_INTERVAL, REVISIONS, SOCKETS, Application, WebSocket

FIRST = '{"_placeholder":true,"num":0}'
SECOND = '{"_placeholder":true,"num":1}'


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.application = Application()

    def bare(self, revision: int) -> WebSocket:
        """A session of Engine.IO in which the client has said nothing; the open packet was read."""
        socket = self.application.websocket(f"EIO={revision}&transport=websocket", SOCKETS)
        self.first = socket.read()
        return socket

    def sent_and_read(self, revision: int, *messages: str | bytes, namespace: str = "/") -> list[str | bytes]:
        """What is answered to messages of one that has joined."""
        socket = self.application.joined(4 if revision == 4 else 3, namespace)
        socket.read()
        socket.send(*messages)
        self.socket = socket
        return socket.read()

    def assert_closes(self, revision: int, *messages: str | bytes, namespace: str = "/") -> None:
        """Whoever sends this is closed, and others are not."""
        other = self.application.joined(4)
        self.sent_and_read(revision, *messages, namespace=namespace)
        self.assertTrue(self.socket.closed, messages)
        self.assertFalse(other.closed)


class Protocol4ConnectionToTheDefaultNamespace(Case):
    def test_it_comes_unasked_when_the_connection_is_there(self) -> None:
        self.bare(3)
        self.assertEqual(self.first[1:], ["40", '42["auth",{}]'])

    def test_it_comes_first_also_for_who_wants_another(self) -> None:
        socket = self.bare(3)
        socket.send("40/custom,")
        self.assertEqual(self.first[1], "40")
        self.assertEqual(socket.read(), ["40/custom,", '42/custom,["auth",{}]'])

    def test_to_ask_for_it_all_the_same_is_nothing(self) -> None:
        socket = self.bare(3)
        socket.send("40")
        self.assertEqual(socket.read(), [])
        self.assertFalse(socket.closed)

    def test_no_answer_is_expected_of_the_client(self) -> None:
        self.bare(3)
        self.assertEqual(self.sent_and_read(3, '42["message",1]'), ['42["message-back",1]'])


class Protocol4ConnectionToANonDefaultNamespace(Case):
    def test_the_answer_is_connect_without_a_payload(self) -> None:
        for wish in ("40/custom", "40/custom,"):
            socket = self.bare(3)
            socket.send(wish)
            self.assertEqual(socket.read()[0], "40/custom,")

    def test_more_may_stand_behind_the_name_and_is_no_part_of_it(self) -> None:
        for wish in ("40/custom?token=1234&uid=abcd", "40/custom?token=1234&uid=abcd,"):
            socket = self.bare(3)
            socket.send(wish)
            self.assertEqual(socket.read()[0], "40/custom,")
            socket.send('42/custom,["message"]')
            self.assertEqual(socket.read(), ['42/custom,["message-back"]'])

    def test_a_refusal_is_an_error_with_a_string(self) -> None:
        for wish in ("40/random", "40/random,", "40/random?token=1"):
            socket = self.bare(3)
            socket.send(wish)
            self.assertEqual(socket.read(), ['44/random,"Invalid namespace"'])
            self.assertFalse(socket.closed)

    def test_after_a_refusal_the_default_namespace_is_still_there(self) -> None:
        self.assertEqual(
            self.sent_and_read(3, "40/random,", '42["message",1]'),
            ['44/random,"Invalid namespace"', '42["message-back",1]'],
        )


class Protocol5ConnectionToANamespace(Case):
    def test_nobody_is_connected_unasked(self) -> None:
        self.bare(4)
        self.assertEqual(len(self.first), 1)

    def test_the_answer_is_connect_with_a_session_id_that_is_not_the_engine_s(self) -> None:
        for namespace, prefix in (("/", "40"), ("/custom", "40/custom,")):
            socket = self.bare(4)
            socket.send(prefix)
            answer, auth = socket.read()
            assert isinstance(answer, str)
            self.assertTrue(answer.startswith(prefix))
            said = json.loads(answer.removeprefix(prefix))
            self.assertEqual(list(said), ["sid"])
            self.assertNotEqual(said["sid"], json.loads(str(self.first[0])[1:])["sid"])
            self.assertEqual(auth, f'42{prefix[2:]}["auth",{{}}]', namespace)

    def test_a_payload_may_stand_in_it(self) -> None:
        for prefix in ("40", "40/custom,"):
            socket = self.bare(4)
            socket.send(prefix + '{"token":"123"}')
            self.assertEqual(socket.read()[1], f'42{prefix[2:]}["auth",{{"token":"123"}}]')

    def test_the_comma_may_be_missing(self) -> None:
        socket = self.bare(4)
        socket.send("40/custom")
        self.assertTrue(str(socket.read()[0]).startswith("40/custom,{"))

    def test_a_refusal_is_connect_error_with_a_message(self) -> None:
        for wish in ("40/random", "40/random,", '40/random,{"token":"123"}'):
            socket = self.bare(4)
            socket.send(wish)
            self.assertEqual(socket.read(), ['44/random,{"message":"Invalid namespace"}'])
            self.assertFalse(socket.closed)

    def test_another_first_packet_closes(self) -> None:
        for packet in ('42["message"]', "43[]", '42/custom,["message"]', "4abc", "4", "45", "47"):
            socket = self.bare(4)
            socket.send(packet)
            self.assertEqual((socket.read(), socket.closed), ([], True), packet)

    def test_who_never_connects_is_closed_in_bounded_time(self) -> None:
        socket = self.bare(4)
        for _ in range(10):
            self.application.clock.advance(PING_INTERVAL / 2)
            if "2" in socket.read():
                socket.send("3")
        self.assertTrue(socket.closed)

    def test_several_namespaces_share_a_connection(self) -> None:
        socket = self.bare(4)
        socket.send("40", "40/custom,")
        ids = [json.loads(str(said)[str(said).index("{") :])["sid"] for said in socket.read()[::2]]
        self.assertEqual(len(set(ids)), 2)
        socket.send('42/custom,["message",1]', '42["message",2]')
        self.assertEqual(socket.read(), ['42/custom,["message-back",1]', '42["message-back",2]'])


class ConnectionToANamespace(Case):
    """What both documents, or their servers, have in common."""

    def test_a_second_wish_for_the_same_one_closes(self) -> None:
        self.assert_closes(4, "40")
        for revision in REVISIONS:
            self.assert_closes(revision, "40/custom,", namespace="/custom")

    def test_a_payload_that_is_no_object_closes(self) -> None:
        for payload in ("1", '"x"', "[]", "{", "null", "{}{}"):
            self.assert_closes(4, "40/custom," + payload)

    def test_an_error_packet_from_a_client_closes(self) -> None:
        for revision in REVISIONS:
            self.assert_closes(revision, '44{"message":"x"}')
            self.assert_closes(revision, '44"x"')


class SendingAndReceivingData(Case):
    """Protocol 5, of that title; protocol 4, EVENT and BINARY_EVENT."""

    def test_an_event_reaches_the_namespace_and_comes_back(self) -> None:
        for revision in REVISIONS:
            self.assertEqual(
                self.sent_and_read(revision, '42["message",1,"2",{"3":[true]}]'),
                ['42["message-back",1,"2",{"3":[true]}]'],
            )
            self.assertEqual(
                self.sent_and_read(revision, '42/custom,["message",null]', namespace="/custom"),
                ['42/custom,["message-back",null]'],
            )

    def test_text_of_any_script_comes_back_as_it_was(self) -> None:
        for revision in REVISIONS:
            for text in ("é", "漢字", "😀", "\u2028", "\\u0000", '\\"', "\x7f", "\x1e"):
                packet = json.dumps(["message", text], ensure_ascii=False)
                (answer,) = self.sent_and_read(revision, f"42{packet}")
                self.assertEqual(json.loads(str(answer)[2:]), ["message-back", text], revision)

    def test_attachments_follow_their_event_in_order(self) -> None:
        for revision in REVISIONS:
            first, second = b"\x01\x02\x03", b"\x04\x05\x06"
            if revision == 3:
                first, second = b"\x04" + first, b"\x04" + second
            self.assertEqual(
                self.sent_and_read(revision, f'452-["message",{FIRST},{SECOND}]', first, second),
                [f'452-["message-back",{FIRST},{SECOND}]', first, second],
            )

    def test_in_another_namespace_its_name_stands_behind_the_number_of_attachments(self) -> None:
        for revision in REVISIONS:
            data = b"\x04" * (revision == 3) + b"x"
            self.assertEqual(
                self.sent_and_read(revision, f'451-/custom,["message",{{"a":[{FIRST}]}}]', data, namespace="/custom"),
                [f'451-/custom,["message-back",{{"a":[{FIRST}]}}]', data],
            )

    def test_binary_of_no_byte_is_binary(self) -> None:
        for revision in REVISIONS:
            data = b"\x04" * (revision == 3)
            self.assertEqual(
                self.sent_and_read(revision, f'451-["message",{FIRST}]', data),
                [f'451-["message-back",{FIRST}]', data],
            )

    def test_nothing_is_delivered_before_all_attachments_are_there(self) -> None:
        for revision in REVISIONS:
            data = b"\x04" * (revision == 3) + b"x"
            self.assertEqual(self.sent_and_read(revision, f'452-["message",{FIRST},{SECOND}]', data), [])
            self.socket.send(data)
            self.assertEqual(len(self.socket.read()), 3)

    def test_a_payload_that_is_no_array_or_an_empty_one_closes(self) -> None:
        for revision in REVISIONS:
            for payload in ("{}", "[]", "", '"message"', "null", "1", "[", '["message"', '["message"]x'):
                self.assert_closes(revision, "42" + payload)

    def test_a_name_that_is_none_closes(self) -> None:
        for revision in REVISIONS:
            for name in ("null", "{}", "[]", "true"):
                self.assert_closes(revision, f"42[{name}]")

    def test_the_names_that_clients_keep_for_themselves_close(self) -> None:
        for revision in REVISIONS:
            for name in ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"):
                self.assert_closes(revision, f'42["{name}"]')

    def test_an_event_for_a_namespace_that_was_not_joined_closes(self) -> None:
        for revision in REVISIONS:
            self.assert_closes(revision, '42/custom,["message"]')
            self.assert_closes(revision, "40/random,", '42/random,["message"]')

    def test_attachments_that_are_missing_surplus_or_not_announced_close(self) -> None:
        for revision in REVISIONS:
            data = b"\x04" * (revision == 3) + b"x"
            for packets in (
                [f'451-["message",{FIRST}]', '42["message"]'],
                [data],
                [f'451-["message",{FIRST}]', data, data],
                [f'45["message",{FIRST}]'],
                [f'450-["message",{FIRST}]'],
                [f'451-["message",{SECOND}]', data],
                ['451-["message",{"_placeholder":true,"num":"0"}]', data],
                ['451-["message",{"_placeholder":true,"num":-1}]', data],
                ['451-["message",{"_placeholder":true}]', data],
                ['421-["message"]'],
            ):
                self.assert_closes(revision, *packets)

    def test_an_object_that_looks_like_a_placeholder_is_one_only_where_there_are_attachments(self) -> None:
        for revision in REVISIONS:
            self.assertEqual(self.sent_and_read(revision, f'42["message",{FIRST}]'), [f'42["message-back",{FIRST}]'])

    def test_an_unknown_packet_type_closes(self) -> None:
        for revision in REVISIONS:
            for packet in ("4abc", "47", "49[]", "4", "4 ", "4-"):
                self.assert_closes(revision, packet)


class Acknowledgement(Case):
    def test_the_answer_has_the_event_s_id_and_the_arguments(self) -> None:
        for revision in REVISIONS:
            for number in ("0", "7", "456", "9007199254740991"):
                self.assertEqual(
                    self.sent_and_read(revision, f'42{number}["message-with-ack",1,"2",{{"3":[false]}}]'),
                    [f'43{number}[1,"2",{{"3":[false]}}]'],
                )
            self.assertEqual(
                self.sent_and_read(revision, '42/custom,1["message-with-ack"]', namespace="/custom"),
                ["43/custom,1[]"],
            )

    def test_with_binary_it_is_a_binary_ack_with_its_attachments(self) -> None:
        for revision in REVISIONS:
            first, second = (b"\x04" * (revision == 3) + data for data in (b"\x01\x02\x03", b"\x04"))
            self.assertEqual(
                self.sent_and_read(revision, f'452-789["message-with-ack",{FIRST},{SECOND}]', first, second),
                [f"462-789[{FIRST},{SECOND}]", first, second],
            )

    def test_without_an_id_nothing_is_answered(self) -> None:
        for revision in REVISIONS:
            self.assertEqual(self.sent_and_read(revision, '42["message-with-ack",1]'), [])

    def test_an_id_that_is_no_number_closes(self) -> None:
        for revision in REVISIONS:
            for number in ("abc", "-1", "1.5", "0x1", "99999999999999999999"):
                self.assert_closes(revision, f'42{number}["message-with-ack"]')

    def test_an_ack_that_nobody_asked_for_is_nothing(self) -> None:
        for revision in REVISIONS:
            self.assertEqual(self.sent_and_read(revision, "435[]", '42["message"]'), ['42["message-back"]'])

    def test_an_ack_without_an_id_or_an_array_closes(self) -> None:
        for revision in REVISIONS:
            for packet in ("43[]", "431", "431{}", "43/custom,1[]"):
                self.assert_closes(revision, packet)


class DisconnectionFromANamespace(Case):
    def test_it_is_not_answered_and_the_connection_stays(self) -> None:
        for revision in REVISIONS:
            self.assertEqual(self.sent_and_read(revision, "41"), [])
            self.assertFalse(self.socket.closed)

    def test_the_heartbeat_goes_on_without_a_namespace(self) -> None:
        self.sent_and_read(4, "41")
        self.application.clock.advance(PING_INTERVAL + 0.01)
        self.assertEqual(self.socket.read(), ["2"])

    def test_the_comma_may_be_missing(self) -> None:
        for revision in REVISIONS:
            for packet in ("41/custom", "41/custom,"):
                self.assertEqual(self.sent_and_read(revision, packet, namespace="/custom"), [])
                self.assertFalse(self.socket.closed)
                self.socket.send("40/custom,")
                self.assertEqual(len(self.socket.read()), 2)

    def test_other_namespaces_stay(self) -> None:
        for revision in REVISIONS:
            said = self.sent_and_read(revision, "40/custom,", "41/custom,", '42["message",1]')
            self.assertEqual(said[-1], '42["message-back",1]')

    def test_an_event_after_it_closes(self) -> None:
        for revision in REVISIONS:
            self.assert_closes(revision, "41", '42["message"]')

    def test_it_carries_no_payload(self) -> None:
        for revision in REVISIONS:
            for packet in ('41["x"]', '41/custom,{"x":1}'):
                self.assert_closes(revision, packet, namespace="/custom")


class Format(Case):
    """Protocol 5, "Packet encoding"; protocol 4, "Encoding format"."""

    def test_the_default_namespace_may_be_named(self) -> None:
        for revision in REVISIONS:
            self.assertEqual(self.sent_and_read(revision, '42/,["message",1]'), ['42["message-back",1]'])

    def test_each_packet_is_a_message_of_engine_io(self) -> None:
        for revision in REVISIONS:
            self.assert_closes(revision, '2["message"]' if revision == 4 else '5["message"]')

    def test_arguments_may_be_any_json_with_spaces_between(self) -> None:
        for revision in REVISIONS:
            (answer,) = self.sent_and_read(revision, '42 ["message" , [ 1 ] ]'.replace("42 ", "42"))
            self.assertEqual(json.loads(str(answer)[2:]), ["message-back", [1]])
