"""The HTTP API in memory: keys, scopes, problems, the audit log, and what each operation does."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.static import Data
from twisted.web.test.requesthelper import DummyRequest

from kschat.api.http import MAX_REQUESTS, POLLED_EVERY, ApiResource
from kschat.api.keys import MAX_API_KEYS, ApiKeys
from kschat.api.methods import MAX_BYTES_PER_TURN, MAX_PER_TURN, MAX_TURN_SECONDS, METHODS, Api
from kschat.api.problems import PROBLEMS
from kschat.api.types import MAX_NOTICE
from kschat.backends.memory import MemoryStore
from kschat.chat import copies
from kschat.chat.inquiries import INQUIRY_WAIT
from kschat.front.metrics import KNOWN
from kschat.wire.jsonnumbers import MAX_REWRITTEN
from tests.chat.peers import Daemon
from tests.chat.test_daemons import DaemonsTestCase
from tests.front.test_turns import turn

KEY = "k" * 32
READER = "r" * 32
ADMIN = "a" * 32


def keys(text: str) -> ApiKeys:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "keys.toml"
        path.write_text(text)
        return ApiKeys.read(str(path))


KEYS = f"""
[all]
key = "{KEY}"
scopes = ["*"]
max_room = 3
[reader]
sha256 = "{hashlib.sha256(READER.encode()).hexdigest()}"
scopes = ["read"]
[admin]
key = "{ADMIN}"
scopes = ["admin"]
sender = "operator"
"""


class ApiTestCase(SynchronousTestCase):
    """One daemon in memory."""

    def setUp(self) -> None:
        self.store = MemoryStore(1000, 10_000_000)
        self.daemon = Daemon(self.store)
        clock = self.daemon.clock
        self.api = Api(
            self.daemon.context.operations, keys(KEYS), max_room=2, max_rooms=10, clock=clock, wall=clock.seconds
        )
        self.calls: Counter[str] = Counter()
        self.resource = ApiResource(self.api, calls=self.calls)

    def ask(self, name: str, body: object, key: str = KEY, method: bytes = b"POST") -> Any:
        """The request, answered or not."""
        request: Any = DummyRequest([])
        request.method = method
        request.uri = name.encode() if name.startswith("/") else b"/v1/" + name.encode()
        request.channel = object()
        if key:
            request.requestHeaders.setRawHeaders(b"authorization", [b"Bearer " + key.encode()])
        request.content = BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        self.resource.render(request)
        return request

    def answered(self, request: Any) -> tuple[int, Any]:
        """Its status and its answer."""
        for _ in range(5):
            self.daemon.clock.advance(0)
        self.assertTrue(request.finished, "it is not answered")
        return request.responseCode, json.loads(b"".join(request.written))

    def done(self, name: str, body: object) -> Any:
        status, answer = self.answered(self.ask(name, body))
        self.assertEqual(200, status, answer)
        return answer

    def refused(self, request: Any) -> tuple[int, str]:
        """Its status and the type of its problem."""
        status, problem = self.answered(request)
        self.assertEqual([b"application/problem+json"], request.responseHeaders.getRawHeaders(b"content-type"))
        self.assertEqual({"type", "title", "status", "detail"}, set(problem))
        self.assertEqual(status, problem["status"])
        return status, problem["type"].removeprefix("urn:kschat:")


class Access(ApiTestCase):
    def test_each_outcome_has_a_series_from_the_start(self) -> None:
        self.assertEqual(set(KNOWN["api_calls"]), {"done", *PROBLEMS})

    def test_a_request_without_a_key_that_counts_is_unauthorized(self) -> None:
        for key in ("", "x" * 32, KEY + "x", "k" * 31, "k" * 5000):
            self.assertEqual((401, "unauthorized"), self.refused(self.ask("presence", {"users": ["ann"]}, key)))

    def test_a_key_needs_the_scope_of_the_operation(self) -> None:
        self.assertEqual((403, "not-allowed"), self.refused(self.ask("send", {"to": "ann", "msg": 1}, READER)))
        asked = self.ask("history", {"user": "ann", "peer": "ben"}, READER)
        self.assertEqual((200, {"messages": [], "next": None}), self.answered(asked))
        self.assertEqual({"not-allowed": 1, "done": 1}, self.calls)

    def test_an_unknown_path_and_another_method_are_refused(self) -> None:
        self.assertEqual((404, "not-found"), self.refused(self.ask("nothing", {})))
        self.assertEqual((404, "not-found"), self.refused(self.ask("/", {})))
        request = self.ask("send", {}, method=b"GET")
        self.assertEqual((405, "method"), self.refused(request))
        self.assertEqual([b"POST"], request.responseHeaders.getRawHeaders(b"allow"))

    def test_a_body_that_is_not_valid_is_refused(self) -> None:
        bodies: list[object] = [b"", b"{", b"[]", b"\xff", b"[" * 5000, {}, {"users": []}, {"users": ["#room"]}]
        bodies += [{"users": ["x" * 129]}, {"users": ["a"], "more": 1}, {"users": ["a"] * 1001}, {"users": ["\ud800"]}]
        for body in bodies:
            self.assertEqual((400, "invalid"), self.refused(self.ask("presence", body)), body)

    def test_what_is_no_utf8_is_refused(self) -> None:
        # Clients of a WebSocket close the connection at text that is no UTF-8.
        for name, body in (
            ("send", b'{"from":"ann","to":"ben","msg":"a\xe1b"}'),
            ("emit", b'{"to":"ben","event":"news","args":["a\xe1b"]}'),
            ("broadcast", b'{"event":"news","args":[{"k\xff":1}]}'),
        ):
            self.assertEqual((400, "invalid"), self.refused(self.ask(name, body)), body)

    def test_the_body_is_read_for_a_key_that_counts_alone(self) -> None:
        request = self.ask("send", {})
        takes = self.resource.takes_body
        self.assertTrue(takes(request, b"POST", b"/v1/send"))
        self.assertFalse(takes(request, b"POST", b"/v1/nothing"))
        request.requestHeaders.removeHeader(b"authorization")
        self.assertFalse(takes(request, b"POST", b"/v1/send"))

    def test_an_action_writes_a_line_without_its_text(self) -> None:
        with capturedLogs() as logs:
            self.done("send", {"from": "ben", "to": ["ann", "cem"], "msg": "a secret text"})
            self.refused(self.ask("send", {"to": "ann", "msg": 1}, READER))
        lines = [formatEvent(event) for event in logs if "operation" in event]
        self.assertEqual(["api: all send [ben, ann and 1 more]: done", "api: reader send []: not-allowed"], lines)

    def test_more_requests_than_may_be_unanswered_are_refused(self) -> None:
        api = self.resource._api
        waiting: list[Deferred[Any]] = []

        class Waits:
            def presence(self, users: object) -> Deferred[Any]:
                waiting.append(Deferred())
                return waiting[-1]

        operations: Any = Waits()
        api.operations = operations
        first = [self.ask("presence", {"users": ["ann"]}) for _ in range(MAX_REQUESTS)]
        self.assertEqual((503, "busy"), self.refused(self.ask("presence", {"users": ["ann"]})))
        for one in waiting[:]:
            one.callback({})
        self.assertEqual({200}, {self.answered(one)[0] for one in first})

    def test_an_error_that_nobody_foresaw_is_logged_and_answered(self) -> None:
        api = self.resource._api
        operations: Any = None
        api.operations = operations
        self.assertEqual((500, "internal"), self.refused(self.ask("presence", {"users": ["ann"]})))
        self.assertEqual(1, len(self.flushLoggedErrors(AttributeError)))

    def test_the_document_names_each_operation_and_resolves(self) -> None:
        document = self.document()
        self.assertEqual({f"/v1/{name}" for name in METHODS}, set(document["paths"]))
        self.assertEqual("3.1.0", document["openapi"])
        text = json.dumps(document)
        for reference in set(text.split('"$ref": "')[1:]):
            name = reference.partition('"')[0].removeprefix("#/components/schemas/")
            self.assertIn(name, document["components"]["schemas"])
        self.assertEqual({"from", "to", "msg", "cid"}, set(document["components"]["schemas"]["Send"]["properties"]))

    def document(self) -> Any:
        request: Any = DummyRequest([])
        request.method, request.uri = b"GET", b"/openapi.json"
        return json.loads(self.resource.render(request))


class Admin(ApiTestCase):
    """What the admin page uses."""

    def lines(self, logs: Sequence[Mapping[str, Any]]) -> list[str]:
        return [formatEvent(dict(event)) for event in logs if "operation" in event]

    def test_the_scope_admin_has_what_the_page_uses_and_no_more(self) -> None:
        key = self.api.keys.find(b"Bearer " + ADMIN.encode())
        assert key is not None
        allowed = {name for name, method in METHODS.items() if key.may(method.scope)}
        revoking = {"revoke", "revoke/token", "revoke/issued"}
        self.assertEqual(
            {"presence", "online", "sockets", "disconnect", "counts", "notice", "batch"} | revoking, allowed
        )

    def test_a_notice_is_a_message_from_the_sender_of_the_key(self) -> None:
        body = {"user": "ann", "text": 'a "text"\n', "cid": "1"}
        sent = self.answered(self.ask("notice", body, ADMIN))[1]
        again = self.answered(self.ask("notice", body, ADMIN))[1]
        self.assertEqual((sent["mid"], True), (again["mid"], again["repeat"]))
        page = self.done("history", {"user": "ann", "peer": "operator"})
        self.assertEqual(
            [("operator", "ann", 'a "text"\n')], [(m["from"], m["to"], m["msg"]) for m in page["messages"]]
        )
        for more in (
            {"text": ""},
            {"text": "x" * (MAX_NOTICE + 1)},
            {"text": "\ud800"},
            {"user": "#room"},
            {"from": "ben"},
        ):
            self.assertEqual((400, "invalid"), self.refused(self.ask("notice", {**body, **more}, ADMIN)), more)
        self.assertEqual((403, "not-allowed"), self.refused(self.ask("notice", body, READER)))

    def test_actions_of_the_page_have_their_lines_in_the_log_without_a_text(self) -> None:
        with capturedLogs() as logs:
            for name, more in (("notice", {"text": "a secret"}), ("disconnect", {}), ("revoke", {}), ("sockets", {})):
                self.assertEqual(200, self.answered(self.ask(name, {"user": "ann", **more}, ADMIN))[0])
        expected = [f"api: admin {name} [ann]: done" for name in ("notice", "disconnect", "revoke", "sockets")]
        self.assertEqual(expected, self.lines(logs))

    def test_counts_that_are_polled_have_one_line_in_a_while_for_each_key(self) -> None:
        clock = self.daemon.clock
        with capturedLogs() as logs:
            for key in (ADMIN, KEY, ADMIN):
                self.answered(self.ask("counts", {}, key))
            self.assertEqual(["api: admin counts []: done", "api: all counts []: done"], self.lines(logs))
            clock.advance(POLLED_EVERY - 1)
            self.answered(self.ask("counts", {}, ADMIN))
            self.assertEqual(2, len(self.lines(logs)))
            clock.advance(2)
            self.answered(self.ask("counts", {}, ADMIN))
            self.refused(self.ask("counts", {}, READER))
            self.assertEqual(["api: admin counts []: done", "api: reader counts []: not-allowed"], self.lines(logs)[2:])
        # Names of keys that are no more are forgotten.
        self.assertEqual({("admin", "counts")}, set(self.resource._logged))

    def test_those_who_look_at_about_the_same_time_share_one_look(self) -> None:
        operations: Any = Looks()
        self.api.operations = operations
        first = [self.ask("counts", {"max_age": 1}, ADMIN) for _ in range(100)]
        self.assertEqual(1, len(operations.waiting))
        self.assertFalse(any(one.finished for one in first))
        operations.answer()
        self.assertEqual({200}, {self.answered(one)[0] for one in first})
        self.daemon.clock.advance(0.9)
        self.answered(self.ask("counts", {"max_age": 1}, ADMIN))
        self.assertEqual(1, operations.looks)
        self.daemon.clock.advance(0.2)
        later = self.ask("counts", {"max_age": 1}, ADMIN)
        self.assertEqual(2, operations.looks)
        # One that must be new does not take that of another.
        new = self.ask("counts", {}, ADMIN)
        self.assertEqual(3, operations.looks)
        operations.answer()
        times = {self.answered(one)[1]["time"] for one in (later, new)}
        self.assertEqual({self.daemon.clock.seconds()}, times)

    def test_a_look_that_failed_is_said_to_all_and_tried_again(self) -> None:
        operations: Any = Looks()
        self.api.operations = operations
        first = [self.ask("counts", {"max_age": 60}, ADMIN) for _ in range(2)]
        operations.fail()
        self.assertEqual({(500, "internal")}, {self.refused(one) for one in first})
        self.assertEqual(2, len(self.flushLoggedErrors(ZeroDivisionError)))
        again = self.ask("counts", {"max_age": 60}, ADMIN)
        operations.answer()
        self.assertEqual(200, self.answered(again)[0])

    def test_counts_say_what_waits_and_what_was_refused_for_which_reason(self) -> None:
        self.daemon.context.reporter.shows(connections=int, services=dict, queues=lambda: {"messages_waiting": 3})
        self.daemon.counters.limited["user_sends"] += 2
        self.daemon.counters.rejected[1] += 4
        (found,) = self.answered(self.ask("counts", {}, ADMIN))[1]["daemons"]
        self.assertEqual({"messages_waiting": 3}, found["queues"])
        self.assertEqual(
            {"denied": {}, "limited": {"user_sends": 2}, "full": {}, "rejected": {"1": 4}}, found["refusals"]
        )

    def test_pages_are_beside_the_api(self) -> None:
        page = Data(b"the page", "text/plain")
        resource = ApiResource(self.api, {b"admin": page})
        request: Any = DummyRequest([b"admin"])
        request.uri = b"/admin"
        request.prepath = []
        self.assertEqual(b"the page", resource.render(request))
        self.assertFalse(resource.takes_body(request, b"POST", b"/admin"))
        other = self.ask("/adminx", {})
        self.assertEqual((404, "not-found"), self.refused(other))


class Looks:
    """Operations that only know the status, once the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] = []
        self.looks = 0

    def status(self) -> Deferred[Any]:
        self.looks += 1
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def answer(self) -> None:
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            one.callback(([], True))

    def fail(self) -> None:
        self.waiting.pop().errback(ZeroDivisionError())


class KeyFiles(SynchronousTestCase):
    def test_a_file_that_can_not_be_used_is_refused_with_a_sentence_that_shows_no_key(self) -> None:
        secret = "s3cret" * 6
        for text, said in (
            ("", "it has 0 keys"),
            (f'[a]\nkey = "{secret}', "it is not TOML"),
            ('[a]\nscopes = ["*"]', "has to have a key"),
            (f'[a]\nkey = "{secret}"\nsha256 = "{"0" * 64}"\nscopes = []', "has to have a key"),
            ('[a]\nkey = "short"\nscopes = []', "is not 32 to 512"),
            ('[a]\nsha256 = "00"\nscopes = []', "64 hex"),
            (f'[a]\nkey = "{secret}"\nscopes = ["sned"]', "there is no scope 'sned'"),
            (f'[a]\nkey = "{secret}"\nscopes = []\nsender = "#room"', "sender"),
            (f'[a]\nkey = "{secret}"\nscopes = []\nmax_room = -1', "max_room"),
            (f'[a]\nkey = "{secret}"\nscopes = []\nscope = 1', "unknown field"),
            ("".join(f'[k{n}]\nkey = "{n:032}"\nscopes = []\n' for n in range(MAX_API_KEYS + 1)), "1 to 100"),
        ):
            error = self.assertRaises(ValueError, keys, text)
            self.assertIn(said, str(error))
            self.assertNotIn(secret, str(error))


class Doing(ApiTestCase):
    def test_a_message_is_sent_as_the_system_and_on_behalf_of_a_user(self) -> None:
        ann = self.daemon.joined("ann")
        (first,) = self.done("send", {"to": "ann", "msg": {"a": 1}})["results"]
        (second,) = self.done("send", {"to": "ann", "msg": "hi", "from": "ben"})["results"]
        self.assertLess(first["mid"], second["mid"])
        page = self.done("history", {"user": "ann", "peer": "system"})
        self.assertEqual([("system", "ann", {"a": 1})], [(m["from"], m["to"], m["msg"]) for m in page["messages"]])
        self.assertEqual("ann", ann.user)

    def test_a_repeat_with_a_cid_is_stored_once(self) -> None:
        for to in ("ann", ["ann", "ben", "ann"]):
            body = {"to": to, "msg": 1, "cid": "c"}
            first, again = self.done("send", body)["results"], self.done("send", body)["results"]
            self.assertEqual([one["mid"] for one in first], [one["mid"] for one in again])
            self.assertTrue(all(one["repeat"] for one in again))

    def test_each_of_several_recipients_has_a_result(self) -> None:
        results = self.done("send", {"to": ["ann", "#closed", "#"], "msg": 1})["results"]
        self.assertIn("mid", results[0])
        self.assertEqual(["urn:kschat:not-allowed", "urn:kschat:invalid"], [one["error"] for one in results[1:]])
        self.assertEqual((403, "not-allowed"), self.refused(self.ask("send", {"to": "#closed", "msg": 1})))

    def test_rooms_are_made_beyond_the_bound_where_the_key_may(self) -> None:
        self.assertEqual({"changed": ["a", "b"]}, self.done("rooms/add", {"room": "#r", "users": ["a", "b", "a"]}))
        self.assertEqual({"changed": ["c"]}, self.done("rooms/add", {"room": "#r", "users": ["b", "c"]}))
        self.assertEqual((409, "full"), self.refused(self.ask("rooms/add", {"room": "#r", "users": ["d"]})))
        page = self.done("rooms/members", {"room": "#r", "limit": 2})
        self.assertEqual({"members": ["a", "b"], "total": 3, "next": "b"}, page)
        page = self.done("rooms/members", {"room": "#r", "limit": 2, "after": page["next"]})
        self.assertEqual({"members": ["c"], "total": 3, "next": None}, page)
        self.assertEqual({"changed": ["c"]}, self.done("rooms/remove", {"room": "#r", "users": ["c", "x"]}))
        self.done("send", {"from": "a", "to": "#r", "msg": "hi"})
        (one,) = self.done("conversations", {"user": "b"})["conversations"]
        self.assertEqual(("#r", 1, "hi"), (one["peer"], one["unread"], one["last"]["msg"]))

    def test_messages_are_edited_deleted_and_reacted_to(self) -> None:
        self.done("rooms/add", {"room": "#r", "users": ["ann", "ben"]})
        direct, room = [
            self.done("send", {"from": "ann", "to": to, "msg": "hi"})["results"][0]["mid"] for to in ("ben", "#r")
        ]
        self.daemon.clock.advance(10**7)
        answer = self.done("messages/edit", {"user": "ann", "mid": direct, "msg": {"text": "ho"}, "cid": "1"})
        self.assertEqual((direct, int(self.daemon.clock.seconds() * 1000)), (answer["mid"], answer["time"]))
        self.assertTrue(self.done("messages/edit", {"user": "ann", "mid": direct, "msg": 1, "cid": "1"})["repeat"])
        self.done("messages/react", {"user": "ben", "mid": direct, "emoji": "+1", "peer": "ann"})
        (shown,) = self.done("history", {"user": "ben", "peer": "ann"})["messages"]
        self.assertEqual(
            ({"text": "ho"}, answer["time"], {"+1": ["ben"]}), (shown["msg"], shown["edited"], shown["reactions"])
        )
        for user, mid, name, more in (
            ("ben", direct, "edit", {"msg": 1}),
            ("ben", direct, "delete", {}),
            ("ben", room, "edit", {"msg": 1}),
        ):
            asked = self.ask(f"messages/{name}", {"user": user, "mid": mid, **more})
            self.assertEqual((403, "not-allowed"), self.refused(asked))
        for body in ({"mid": "0" * 24}, {"mid": direct, "peer": "#r"}):
            asked = self.ask("messages/delete", {"user": "ann", **body})
            self.assertEqual((404, "no-message"), self.refused(asked))
        for body in ({"mid": "x"}, {"mid": "\u0660" * 24}):
            asked = self.ask("messages/delete", {"user": "ann", **body})
            self.assertEqual((400, "invalid"), self.refused(asked))
        self.done("messages/delete", {"user": "ben", "mid": room})
        (shown,) = self.done("history", {"user": "ann", "peer": "#r"})["messages"]
        self.assertEqual((None, True), (shown["msg"], shown["deleted"] > 0))

    def test_history_comes_in_pages(self) -> None:
        for number in range(5):
            self.done("send", {"to": "ann", "msg": number})
        found: list[Any] = []
        body: dict[str, Any] = {"user": "ann", "peer": "system", "limit": 2.0}
        while True:
            page = self.done("history", body)
            found = [one["msg"] for one in page["messages"]] + found
            if page["next"] is None:
                break
            body["before"] = page["next"]
        self.assertEqual([0, 1, 2, 3, 4], found)

    def test_events_reach_sockets(self) -> None:
        ann, ben = self.daemon.joined("ann"), self.daemon.joined("ben")
        self.assertEqual({"users": 2}, self.done("emit", {"to": ["ann", "cem"], "event": "price", "args": [{"e": 1}]}))
        self.assertEqual({}, self.done("broadcast", {"event": "all"}))
        self.done("rooms/add", {"room": "#r", "users": ["ben"]})
        self.assertEqual({"users": 1}, self.done("emit", {"to": "#r", "event": "room"}))
        names = {"price", "all", "room"}
        self.assertEqual(
            [("price", [{"e": 1}]), ("all", [])], [(e.name, e.args) for e in ann.read() if e.name in names]
        )
        self.assertEqual([("all", []), ("room", [])], [(e.name, e.args) for e in ben.read() if e.name in names])
        for name in ("disconnect", "connect"):
            self.assertEqual((403, "not-allowed"), self.refused(self.ask("emit", {"to": "ann", "event": name})))

    def test_presence_sockets_disconnect_and_revoke(self) -> None:
        self.daemon.joined("ann")
        found = self.done("presence", {"users": ["ann", "ben"]})["users"]
        self.assertEqual({"ann": True, "ben": False}, {user: one["online"] for user, one in found.items()})
        listed = self.done("sockets", {"user": "ann"})
        self.assertEqual((1, True), (len(listed["sockets"]), listed["complete"]))
        self.assertEqual({}, self.done("disconnect", {"user": "ann"}))
        self.assertEqual([], self.done("sockets", {"user": "ann"})["sockets"])
        self.assertEqual({}, self.done("revoke", {"user": "ann"}))
        self.assertEqual((400, "invalid"), self.refused(self.ask("revoke", {})))
        self.assertEqual({}, self.done("revoke/token", {"jti": "1", "expires": 1_800_000_000}))
        self.assertEqual({}, self.done("revoke/issued", {"issued_before": 1_600_000_000}))
        future = {"issued_before": 4_000_000_000}
        self.assertEqual((403, "not-allowed"), self.refused(self.ask("revoke/issued", future)))
        self.assertEqual({}, self.done("revoke", {"user": "ann", "lift": True}))

    def test_a_large_batch_takes_several_turns(self) -> None:
        parts = [{"operation": "presence", "body": {"users": [f"u{number}"]}} for number in range(2 * MAX_PER_TURN + 1)]
        request = self.ask("batch", {"requests": parts})
        for turns in range(2):
            self.assertFalse(request.finished, turns)
            turn(self.daemon.clock)
        turn(self.daemon.clock)
        status, answer = self.answered(request)
        self.assertEqual((status, len(answer["results"])), (200, len(parts)))

    def test_a_batch_pauses_after_an_operation_that_took_long(self) -> None:
        clock = self.daemon.clock
        seconds = clock.seconds

        def later() -> float:
            clock.rightNow += MAX_TURN_SECONDS / 1.5
            return seconds()

        self.patch(clock, "seconds", later)
        parts = [{"operation": "presence", "body": {"users": ["ann"]}} for _ in range(4)]
        request = self.ask("batch", {"requests": parts})
        turns = 0
        while not request.finished:
            turn(clock)
            turns += 1
            self.assertLess(turns, 20)
        self.assertGreater(turns, 0)

    def test_a_large_event_is_refused_while_too_much_waits_to_be_written(self) -> None:
        for _ in range(3):
            self.daemon.joined("ann")
        self.patch(copies, "MAX_LATE_BYTES", 1)
        large = {"event": "news", "args": ["x" * (copies.MAX_WRITES * copies.COPY_BYTES // 2)]}
        first = self.ask("broadcast", large)
        others = [
            self.ask(name, {**large, **to})
            for name, to in (("emit", {"to": "ann"}), ("emit", {"to": "#r"}), ("broadcast", {}))
        ]
        for asked in others:
            self.assertEqual((503, "busy"), self.refused(asked))
            self.assertEqual([b"1"], asked.responseHeaders.getRawHeaders(b"retry-after"))
        self.assertEqual(200, self.answered(first)[0])
        self.daemon.clock.pump([0.1] * 5)
        self.done("broadcast", large)

    def test_a_large_text_to_many_takes_several_turns(self) -> None:
        text = "x" * (MAX_BYTES_PER_TURN // 2)
        composed: list[str] = []
        send = self.daemon.context.operations.send

        def counted(identity: Any, draft: Any) -> Any:
            composed.append(draft.recipient)
            return send(identity, draft)

        self.patch(self.daemon.context.operations, "send", counted)
        request = self.ask("send", {"to": [f"u{number}" for number in range(5)], "msg": text})
        counts = [len(composed)]
        for _ in range(2):
            turn(self.daemon.clock)
            counts.append(len(composed))
        self.assertEqual([2, 4, 5], counts)
        status, answer = self.answered(request)
        self.assertEqual((200, 5), (status, len([one for one in answer["results"] if "mid" in one])))

    def test_what_takes_long_to_read_is_refused_before_it_is_read(self) -> None:
        deep = b"[" + b",".join([b"[" * 20 + b"]" * 20] * 5000) + b"]"
        numbers = b"[" + b",".join([b"1e5"] * (MAX_REWRITTEN + 1)) + b"]"
        for value in (deep, numbers):
            for name, body in (
                ("send", b'{"to":"a","msg":%b}' % value),
                ("emit", b'{"to":"a","event":"x","args":[%b]}' % value),
                ("broadcast", b'{"event":"x","args":[1,%b]}' % value),
            ):
                _, answer = self.answered(self.ask(name, body))
                self.assertIn("invalid", json.dumps(answer), name)

    def test_a_batch_is_done_in_order_and_each_part_needs_its_scope(self) -> None:
        def part(operation: str, **body: object) -> dict[str, object]:
            return {"operation": operation, "body": body}

        parts = [
            part("rooms/add", room="#r", users=["a", "b"]),
            part("send", **{"from": "a", "to": "#r", "msg": "hi"}),
            part("nothing"),
            part("batch", requests=[part("presence", users=["a"])]),
            part("presence", users=[]),
            part("history", user="b", peer="#r"),
        ]
        with capturedLogs() as logs:
            results = self.done("batch", {"requests": parts})["results"]
        self.assertEqual([200, 200, 404, 404, 400, 200], [one["status"] for one in results])
        self.assertEqual(["hi"], [one["msg"] for one in results[-1]["body"]["messages"]])
        lines = [(event["operation"], event["outcome"]) for event in logs if "operation" in event]
        expected = [("rooms/add", "done"), ("send", "done"), ("presence", "invalid"), ("history", "done")]
        self.assertEqual([*expected, ("batch", "done")], lines)
        status, answer = self.answered(self.ask("batch", {"requests": parts[:2] + parts[-1:]}, READER))
        self.assertEqual((200, [403, 403, 200]), (status, [one["status"] for one in answer["results"]]))
        self.assertEqual((400, "invalid"), self.refused(self.ask("batch", {"requests": parts * 17})))


class Cluster(DaemonsTestCase):
    def test_sockets_of_a_user_on_all_daemons_are_listed(self) -> None:
        third = self.daemon()
        self.one.joined("ann")
        self.other.joined("ann")
        for daemon in (self.one, self.other, third):
            found, complete = self.successResultOf(daemon.context.operations.sockets("ann"))
            self.assertEqual((2, True), (len(found), complete))
            self.assertEqual(2, len({one.id for one in found}))

    def found(self, asked: Any) -> Any:
        """What a coroutine returns when all daemons have had a turn."""
        answer = Deferred.fromCoroutine(asked)
        for daemon in self.all:
            daemon.clock.advance(0)
        return self.successResultOf(answer)

    def test_each_daemon_says_how_it_is(self) -> None:
        third = self.daemon()
        self.one.joined("ann")
        self.other.joined("ann")
        self.other.joined("ben")
        status, complete = self.found(third.context.operations.status())
        self.assertEqual(([0, 1, 2], True), ([one.users for one in status], complete))
        self.bus(self.other).cut(7)
        status, complete = self.found(third.context.operations.status())
        self.assertEqual(([0, 1], True), ([one.users for one in status], complete))
        status, complete = self.found(self.other.context.operations.status())
        self.assertEqual(([2], False), ([one.users for one in status], complete))

    def test_one_that_does_not_answer_is_waited_for_and_told(self) -> None:
        self.circle.held = True
        asked = Deferred.fromCoroutine(self.one.context.operations.status())
        self.assertNoResult(asked)
        self.one.clock.advance(INQUIRY_WAIT)
        status, complete = self.successResultOf(asked)
        self.assertEqual((1, False), (len(status), complete))
        self.circle.release()

    def test_who_is_online_is_listed_once_and_in_order(self) -> None:
        for number, user in enumerate(("ann", "ben", "cem", "dan", "eve")):
            (self.one, self.other)[number % 2].joined(user)
        self.other.joined("ann")
        after, found = "", []
        more = True
        while more:
            users, more, complete = self.found(self.one.context.operations.online(after, 2))
            self.assertTrue(complete)
            found += users
            after = users[-1]
        self.assertEqual(["ann", "ben", "cem", "dan", "eve"], found)

    def test_who_is_erased_is_disconnected_everywhere_and_nothing_is_written_afterwards(self) -> None:
        ann, there = self.one.joined("ann", {"goodbye": "1"}), self.other.joined("ann", {"goodbye": "1"})
        ben = self.one.joined("ben")
        self.brought(ann, self.send(ben, "ann"), on=self.one)
        self.assertEqual(1, self.found(self.one.context.operations.erase("ann")))
        for client in (ann, there):
            self.assertIn(("Goodbye", [{"reason": "erased", "retryIn": 0}]), [(e.name, e.args) for e in client.read()])
        for daemon in self.all:
            daemon.clock.advance(60)
        self.assertEqual({}, self.successResultOf(self.store.last_seen(["ann"])))
        self.assertEqual(0, self.successResultOf(self.store.inbox("ann")).cursor)
        self.assertEqual((), self.one.hub.sessions("ann"))
