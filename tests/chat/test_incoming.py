"""What clients send: valid or refused with a sentence that names what is wrong, and nothing else ever."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat import incoming
from kschat.chat.incoming import Send, decode_send, decoder_of, loose_fields
from kschat.chat.message import Error, Refused
from kschat.chat.mids import Mids
from kschat.wire import jsontext
from kschat.wire.errors import ProtocolError

GOOD: dict[str, Any] = {"uId": "ann", "pId": "ben", "msg": "hi"}

#: Values that JSON.parse reads and Python's json writes, numbers of any size and halves of surrogate pairs among them.
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**200), 10**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ["uId", "pId", "msg", "rno", "time", "cid", "mid", "ids", "before", "limit", "offset", "room", "more"]


def raw(value: object) -> tuple[Raw, ...]:
    """The arguments of an event with one argument."""
    return (Raw(json.dumps(value).encode()),)


class SendPayloads(SynchronousTestCase):
    def decoded(self, **changes: Any) -> Send:
        return decode_send(raw({**GOOD, **changes}))

    def refused(self, args: tuple[Raw, ...]) -> str:
        refused = self.assertRaises(Refused, decode_send, args)
        self.assertEqual(refused.error, Error.INVALID)
        self.assertTrue(refused.why.endswith("."), refused.why)
        self.assertLess(len(refused.why), 300)
        return str(refused.why)

    def test_the_tutorial_s_payload(self) -> None:
        send = self.decoded(rno=12, time=1234)
        self.assertEqual(
            (send.uId, send.pId, bytes(send.msg), bytes(send.rno), send.cid), ("ann", "ben", b'"hi"', b"12", None)
        )

    def test_ids_are_strings_or_whole_numbers(self) -> None:
        for good in (
            "a",
            "7",
            7,
            0,
            -7,
            2**53 - 1,
            "x" * 128,
            "é" * 128,
            "😀" * 128,
            " ",
            "#r",
        ):
            send = self.decoded(uId=good, pId=good)
            self.assertEqual((send.uId, send.pId), (good, good))

    def test_whole_numbers_may_be_written_otherwise(self) -> None:
        for text in (b"42.0", b"4.2e1", b"420e-1", b"42"):
            send = decode_send((Raw(b'{"uId":%b,"pId":%b,"msg":1}' % (text, text)),))
            self.assertEqual((send.uId, send.pId), (42, 42))

    def test_ids_that_no_double_holds_are_exact_and_strings_from_then_on(self) -> None:
        for number in (2**53, 2**53 + 1, -(2**53), 2**64, 10**128 - 1, -(10**128) + 1):
            send = self.decoded(uId=number, pId=number)
            self.assertEqual((send.uId, send.pId), (str(number), str(number)))

    def test_what_is_no_id_is_refused_by_its_field(self) -> None:
        bads: tuple[Any, ...] = ("", None, True, 1.5, 2.0**53, 1e22, [], ["a"], {}, "x" * 129, 10**128, 10**4000)
        for bad in bads:
            for field in ("uId", "pId"):
                why = self.refused(raw({**GOOD, field: bad}))
                self.assertTrue(field in why or "An id" in why, (why, bad))

    def test_a_number_beyond_all_bounds_is_refused(self) -> None:
        for digits in (b"9" * 5000, b"9" * 100_000, b"-" + b"9" * 5000, b"1e999", b"1" + b"0" * 400 + b".0"):
            for field in (b"uId", b"pId"):
                other = b"pId" if field == b"uId" else b"uId"
                self.refused((Raw(b'{"%b":%b,"%b":"b","msg":1}' % (field, digits, other)),))

    def test_a_field_that_is_missing_is_named(self) -> None:
        for field in ("uId", "pId", "msg"):
            value = {name: one for name, one in GOOD.items() if name != field}
            self.assertIn(f"`{field}`", self.refused(raw(value)))

    def test_fields_more_than_the_known_are_passed_over(self) -> None:
        self.decoded(more=[1, {"a": None}], time="whatever", MSG=1)

    def test_what_is_no_object_is_refused(self) -> None:
        for value in (None, True, 1, "text", [], [GOOD]):
            self.refused(raw(value))

    def test_one_argument_is_taken(self) -> None:
        for args in ((), raw(GOOD) * 2, raw(GOOD) * 100):
            self.assertEqual(self.refused(args), "Send accepts one object.")

    def test_msg_is_kept_as_it_came(self) -> None:
        for text in (
            b"null",
            b"0",
            b'{ "a" : [1,2] }',
            b'{"a":1,"a":2}',
            b'""',
            b'"\\u00e9"',
        ):
            send = decode_send((Raw(b'{"uId":"a","pId":"b","msg":' + text + b"}"),))
            self.assertEqual(bytes(send.msg), text)

    def test_rno_is_any_value_of_a_bounded_length(self) -> None:
        for good in (None, 0, 1.5, "x" * 254, [1], {"a": "b"}):
            self.assertEqual(json.loads(bytes(self.decoded(rno=good).rno)), good)
        for bad in ("x" * 255, [0] * 200, 10**300):
            self.assertIn("rno", self.refused(raw({**GOOD, "rno": bad})))

    def test_cid_is_a_string_of_1_to_64_characters(self) -> None:
        for good in ("1", "x" * 64, "é" * 64, None):
            self.assertEqual(self.decoded(cid=good).cid, good)
        bads: tuple[Any, ...] = ("", "x" * 65, 1, 1.5, True, [], {})
        for bad in bads:
            self.assertIn("cid", self.refused(raw({**GOOD, "cid": bad})))

    def test_half_a_surrogate_pair_is_replaced(self) -> None:
        """They come from real browsers; no store and no broker takes them."""
        send = self.decoded(uId="a\ud800", pId="\udc00b", cid="\ud83d", msg="\ud800", rno="\udfff")
        self.assertEqual((send.uId, send.pId, send.cid), ("a\ufffd", "\ufffdb", "\ufffd"))
        self.assertEqual([json.loads(bytes(one)) for one in (send.msg, send.rno)], ["\ufffd", "\ufffd"])
        self.assertEqual(self.decoded(uId="\ud83d\ude00").uId, "😀")

    def test_halves_of_surrogate_pairs_do_not_make_a_bad_payload_good(self) -> None:
        self.assertIn("cid", self.refused(raw({**GOOD, "uId": "\ud800", "cid": 5})))

    def test_a_payload_that_nests_deep_is_refused_or_kept(self) -> None:
        """The wire refuses what is deeper than its limit; here nothing may overflow."""
        for depth in (60, 1000, 100_000):
            for field in ("uId", "msg", "rno", "more"):
                text = json.dumps({**GOOD, field: 0}).replace(
                    f'"{field}": 0', f'"{field}": ' + "[" * depth + "]" * depth
                )
                with contextlib.suppress(Refused):
                    decode_send((Raw(text.encode()),))

    @settings(max_examples=150)
    @given(st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6) | VALUES, max_size=2))
    def test_any_arguments_are_a_payload_or_refused(self, values: list[Any]) -> None:
        args = tuple(Raw(json.dumps(value).encode()) for value in values)
        try:
            send = decode_send(args)
        except Refused as refused:
            self.assertEqual(refused.error, Error.INVALID)
            refused.why.encode()
        else:
            for text in (str(send.uId), str(send.pId), send.cid or ""):
                text.encode()
            self.assertTrue(1 <= len(str(send.pId)) <= 129)
            mended = json.loads(jsontext.mend_surrogates(json.dumps(values[0]["msg"]).encode()))
            self.assertEqual(json.loads(bytes(send.msg)), mended)
        uid, rno = loose_fields(args)
        self.assertIsInstance(uid, int | str | None)
        self.assertLessEqual(len(bytes(rno)), 256)
        json.loads(bytes(rno))

    @settings(max_examples=150)
    @given(st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6) | VALUES, max_size=2))
    def test_any_arguments_of_the_other_events_are_a_payload_or_refused(self, values: list[Any]) -> None:
        args = tuple(Raw(json.dumps(value).encode()) for value in values)
        payloads: list[Any] = [
            incoming.PeerOnly,
            incoming.Read,
            incoming.Watch,
            incoming.History,
            incoming.Sync,
            incoming.Room,
        ]
        for payload in payloads:
            try:
                decoder_of(payload, "Event")(args)
            except Refused as refused:
                self.assertEqual(refused.error, Error.INVALID)
                self.assertIn("Event", refused.why)
                refused.why.encode()

    @settings(max_examples=150)
    @given(st.binary(max_size=60).map(lambda noise: b'{"uId":"a","pId":"b","msg":' + noise + b"}"))
    def test_any_text_that_passes_the_wire_is_json_to_the_letter(self, text: bytes) -> None:
        """What a recipient's parser would choke on must not come as far as here."""
        try:
            args = tuple(jsontext.split_array(b"[%b]" % text.decode("utf-8", "replace").encode(), 64))
            send = decode_send(args)
        except (ProtocolError, Refused):
            return
        json.loads(bytes(send.msg))


class OtherPayloads(SynchronousTestCase):
    def refused(self, payload: Any, value: object) -> str:
        return str(self.assertRaises(Refused, decoder_of(payload, "Event"), raw(value)).why)

    def test_a_bad_field_is_named(self) -> None:
        mid = "0" * 24
        table: list[tuple[Any, str, list[object]]] = [
            (incoming.PeerOnly, "pId", [{}, {"pId": ""}, {"pId": 1.5}, {"pId": "x" * 129}]),
            (incoming.Read, "pId", [{"mid": mid}, {"mid": mid, "pId": None}]),
            (
                incoming.Read,
                "mid",
                [
                    {"pId": 1},
                    {"pId": 1, "mid": "x"},
                    {"pId": 1, "mid": mid + "0"},
                    {"pId": 1, "mid": mid + "\n"},
                    {"pId": 1, "mid": "G" * 24},
                ],
            ),
            (incoming.Watch, "ids", [{}, {"ids": "x"}, {"ids": [None]}, {"ids": [1] * 501}]),
            (incoming.History, "limit", [{"pId": 1, "limit": n} for n in (0, -1, 101, 2**70, "5", 1.5)]),
            (incoming.History, "before", [{"pId": 1, "before": n} for n in ("", "x", 5, mid[1:])]),
            (incoming.Sync, "offset", [{}, {"offset": -1}, {"offset": 2**62}, {"offset": 10**300}, {"offset": "1"}]),
            (incoming.Room, "room", [{}, {"room": ""}, {"room": []}]),
        ]
        for payload, field, values in table:
            for value in values:
                self.assertIn(field, self.refused(payload, value), value)

    def test_one_object_is_taken(self) -> None:
        for args in ((), raw({"pId": 1}) * 2):
            refused = self.assertRaises(Refused, decoder_of(incoming.PeerOnly, "Typing"), args)
            self.assertEqual(refused.why, "Typing accepts one object.")


class MessageIds(SynchronousTestCase):
    def test_a_mid_is_24_hex_digits_that_begin_with_the_time(self) -> None:
        mid = Mids("0a0b0c0d").make(1_700_000_000_000)
        self.assertEqual(mid, f"{1_700_000_000_000:012x}" + "0000" + "0a0b0c0d")
        self.assertRegex(mid, "^[0-9a-f]{24}$")

    def test_within_a_millisecond_they_count(self) -> None:
        mids = Mids("0a0b0c0d")
        made = [mids.make(1000) for _ in range(0x10000 + 10)]
        self.assertEqual(made, sorted(set(made)))
        self.assertEqual({len(mid) for mid in made}, {24})

    def test_a_clock_that_goes_back_makes_no_earlier_one(self) -> None:
        mids = Mids("0a0b0c0d")
        made = [mids.make(time) for time in (5000, 4000, 4999, 5000, 0, 5001, 5001, 3)]
        self.assertEqual(made, sorted(set(made)))

    def test_those_of_two_daemons_differ(self) -> None:
        self.assertNotEqual(Mids("00000001").make(5), Mids("00000002").make(5))

    @given(st.lists(st.integers(0, 50), max_size=200))
    def test_whatever_the_clock_does_they_rise(self, times: list[int]) -> None:
        mids = Mids("0a0b0c0d")
        made = [mids.make(time) for time in times]
        self.assertEqual(made, sorted(set(made)))
