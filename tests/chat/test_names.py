"""The claim ``data.name``: what is shown of it, and to whom."""

from __future__ import annotations

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat import outgoing
from kschat.chat.names import MAX_NAME, name_of
from tests.chat.house import House
from tests.chat.peers import message


class NameOf(SynchronousTestCase):
    def test_a_name_is_shown_as_it_is(self) -> None:
        for name in ("Ann", "Ann Ω", "зоя 😀", "名前", 'x"y<b>', "a\u200db", "#team", "x" * MAX_NAME):
            self.assertEqual(name_of(name), name)

    def test_what_would_break_or_turn_a_line_is_a_space(self) -> None:
        for name, shown in {
            "Ann\nSmith": "Ann Smith",
            " \t Ann  Smith\r\n": "Ann Smith",
            "Ann\0\x1b[31m": "Ann [31m",
            "Ann\u202ehtimS": "Ann htimS",
            "Ann\u2066x\u2069\ufeff": "Ann x",
            "a\u2028b\u2029c\x85d": "a b c d",
            "a\ud800b": "a b",
        }.items():
            self.assertEqual(name_of(name), shown)

    def test_of_a_long_name_the_beginning_is_shown(self) -> None:
        self.assertEqual(name_of("x" * (MAX_NAME + 1)), "x" * MAX_NAME)
        self.assertEqual(name_of("я" * 1000), "я" * MAX_NAME)
        self.assertEqual(name_of("x" * (MAX_NAME - 1) + " y"), "x" * (MAX_NAME - 1))

    def test_what_is_no_name_is_none(self) -> None:
        for claim in (None, "", "   ", "\n", "\u202e\u200b", "\u200d", 7, True, ["Ann"], {"a": 1}):
            self.assertIsNone(name_of(claim), repr(claim))


class Shown(SynchronousTestCase):
    """A message says it, to whom it goes; a message without one is what it was."""

    def setUp(self) -> None:
        self.house = House()

    def test_recipients_and_histories_have_the_name(self) -> None:
        ben = self.house.guest("ben")
        ann = self.house.stranger()
        ann.join({"token": self.house.issuer.issue("ann", 60, name="Ann\nΩ")})
        ann.heard()
        ann.send("ann", "ben")
        self.house.turn()
        (event,) = ben.events("RESPRECEIVER")
        (one,) = event["MSG"]
        self.assertEqual((one["uId"], one["name"]), ("ann", "Ann Ω"))

    def test_another_token_brings_another_name_and_what_was_written_keeps_its_own(self) -> None:
        ben = self.house.guest("ben")
        ann = self.house.stranger()
        ann.join({"token": self.house.issuer.issue("ann", 60, name="Ann")})
        ann.heard()
        ann.send("ann", "ben")
        ann.say("Token", {"token": self.house.issuer.issue("ann", 60, name="Anna")})
        ann.send("ann", "ben")
        ann.say("Token", {"token": self.house.issuer.issue("ann", 60)})
        ann.send("ann", "ben")
        self.house.turn()
        found = [event["MSG"][0].get("name") for event in ben.events("RESPRECEIVER")]
        self.assertEqual(found, ["Ann", "Anna", None])

    def test_a_message_without_a_name_has_no_such_field(self) -> None:
        plain = message("ben")
        self.assertNotIn(b"name", outgoing.piece(plain, 1))
        named = msgspec.json.decode(outgoing.piece(msgspec.structs.replace(plain, name="Ann"), 1))
        self.assertEqual(named, {**msgspec.json.decode(outgoing.piece(plain, 1)), "name": "Ann"})
