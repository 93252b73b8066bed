"""The commands that use the API, on the real API in memory; and what is made from their definitions."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from kschat.api.keys import key_in
from kschat.api.types import Histogram
from kschat.chat.push import PushSubscription
from kschat.cli import command as cli
from kschat.cli.api_client import ApiClient, ApiFailure, url_of
from kschat.cli.api_commands import API_COMMANDS, Tools
from kschat.cli.completion import SHELLS, completion
from kschat.cli.definitions import DEFINITIONS, NO, REFUSED, TRY_AGAIN, UNREACHABLE
from kschat.cli.manual import made_files
from kschat.cli.status_screen import quantile
from kschat.settings import ConfigError
from tests.api.test_http import KEY, ApiTestCase
from tests.support.needs import require_program
from tests.test_cli import SECRET

T = TypeVar("T")

ROOT = Path(__file__).parent.parent
HERE = {"KSCHAT_API": "http://127.0.0.1:1", "KSCHAT_API_KEY": KEY}


class InMemory:
    """A client of an API that is not served."""

    def __init__(self, test: CommandsTestCase, key: str) -> None:
        self.test = test
        self.key = key

    def ask(self, operation: str, answer: type[T], **body: Any) -> T:
        return msgspec.json.decode(self.raw(operation, **body), type=answer)

    def raw(self, operation: str, **body: Any) -> bytes:
        given = {name: value for name, value in body.items() if value is not None}
        request = self.test.ask(operation, msgspec.json.encode(given), self.key)
        status, said = self.test.answered(request)
        if status != 200:
            raise ApiFailure(TRY_AGAIN if status in (429, 503) else REFUSED, said["detail"])
        return b"".join(request.written)


class Enough(Exception):
    """Ends what runs until Ctrl-C."""


class CommandsTestCase(ApiTestCase):
    """Runs commands.

    Attributes:
        typed: what is on standard input.
        slept: is called when a command waits.
    """

    def setUp(self) -> None:
        super().setUp()
        self.typed = io.StringIO()
        self.slept = lambda seconds: self.daemon.clock.advance(seconds)

    def run_command(self, *arguments: str, environ: dict[str, str] | None = None) -> tuple[int, str, str]:
        output, errors = io.StringIO(), io.StringIO()
        tools = Tools(
            connect=lambda url, key, timeout, ca: InMemory(self, key),
            wall=self.daemon.clock.seconds,
            monotonic=self.daemon.clock.seconds,
            sleep=lambda seconds: self.slept(seconds),
            standard_input=self.typed,
        )
        nothing: Any = None
        environ = HERE if environ is None else environ
        try:
            status = cli.main(
                arguments,
                environ,
                self.daemon.clock.seconds,
                output=output,
                errors=errors,
                connect=nothing,
                run_daemons=nothing,
                tell_redis=nothing,
                run_reactor=nothing,
                revoke_in_redis=nothing,
                tools=tools,
            )
        except Enough:
            status = 130
        return status, output.getvalue(), errors.getvalue()

    def printed(self, *arguments: str, status: int = 0) -> str:
        found, output, errors = self.run_command(*arguments)
        self.assertEqual((found, ""), (status, errors), output)
        return output

    def printed_json(self, *arguments: str, status: int = 0) -> Any:
        return json.loads(self.printed(*arguments, "--json", status=status))

    def mids(self, user: str, peer: str) -> list[str]:
        return [one["mid"] for one in self.done("history", {"user": user, "peer": peer})["messages"]]


class Sending(CommandsTestCase):
    def test_a_message_is_sent_and_its_mid_printed(self) -> None:
        line = self.printed("send", "ann", "hi")
        self.assertEqual(f"ann\t{self.mids('ann', 'system')[0]}\n", line)

    def test_with_a_cid_it_is_stored_once(self) -> None:
        for again in (False, True):
            found = self.printed_json("send", "--cid", "1", "ann", "hi", "--from", "ben")
            self.assertEqual(again, found["results"][0].get("repeat", False))
        self.assertEqual(1, len(self.mids("ann", "ben")))
        self.assertIn("(sent before)", self.printed("send", "--from=ben", "ann", "hi", "--cid=1"))

    def test_a_text_is_a_string_unless_it_is_raw(self) -> None:
        self.typed = io.StringIO("from standard input\n")
        for arguments in (["5"], ["5", "--raw"], ['{"a": 1.0}', "-r"], ["-"], ["--", "-1"]):
            options, texts = (
                [one for one in arguments if one in ("--raw", "-r")],
                [one for one in arguments if one not in ("--raw", "-r")],
            )
            self.printed("send", "ann", *options, *texts)
        messages = [one["msg"] for one in self.done("history", {"user": "ann", "peer": "system"})["messages"]]
        self.assertEqual(["5", 5, {"a": 1.0}, "from standard input\n", "-1"], messages)
        self.assertEqual(1, self.run_command("send", "ann", "{", "--raw")[0])

    def test_one_of_several_that_is_refused_gives_its_own_status(self) -> None:
        status, output, _ = self.run_command("send", "ann,#closed", "hi")
        self.assertEqual((REFUSED, 2), (status, output.count("\n")))
        self.assertIn("#closed\trefused: ", output)
        self.assertEqual(REFUSED, self.run_command("send", "#closed", "hi")[0])

    def test_what_may_be_tried_again_gives_its_own_status(self) -> None:
        self.daemon.context.delivery.closed = True
        status, output, errors = self.run_command("send", "ann", "hi")
        self.assertEqual((TRY_AGAIN, "", 1), (status, output, errors.count("\n")))
        self.assertEqual(TRY_AGAIN, self.run_command("send", "ann,ben", "hi")[0])


class Looking(CommandsTestCase):
    def test_who_is_online(self) -> None:
        self.daemon.joined("ann")
        self.daemon.joined("ben")
        self.assertEqual("ann\nben\n", self.printed("online"))
        self.assertEqual({"users": ["ann", "ben"], "complete": True}, self.printed_json("online"))
        self.assertEqual("ann\tonline\n", self.printed("online", "ann"))
        self.assertEqual("ann\tonline\ncem\toffline\n", self.printed("online", "ann", "cem", status=NO))
        self.assertFalse(self.printed_json("online", "cem", status=NO)["users"]["cem"]["online"])
        self.done("disconnect", {"user": "ann"})
        self.assertIn("offline, last seen 2023-11-14 22:13:", self.printed("online", "ann", status=NO))

    def test_online_users_come_in_pages(self) -> None:
        for user in ("ann", "ben", "cem"):
            self.daemon.joined(user)
        found, after = [], None
        while True:
            page = self.done("online", {"limit": 1, **({} if after is None else {"after": after})})
            found += page["users"]
            after = page["next"]
            if after is None:
                break
        self.assertEqual(["ann", "ben", "cem"], found)

    def test_the_sockets_of_a_user(self) -> None:
        self.daemon.joined("ann")
        self.assertRegex(self.printed("sockets", "ann"), r"\A\S+\t[^\t]*\tEngine\.IO [34]\t\S.*\n\Z")
        self.assertEqual(
            (1, True), (len(found := self.printed_json("sockets", "ann")["sockets"]), bool(found[0]["id"]))
        )
        self.assertEqual("", self.printed("sockets", "ben"))

    def test_a_conversation(self) -> None:
        for number in range(130):
            self.done("send", {"to": "ann", "msg": f"message {number}"})
        lines = self.printed("history", "ann", "system").splitlines()
        self.assertEqual(20, len(lines))
        self.assertRegex(lines[-1], r"^2023-11-14 22:13:\d\dZ system > ann: message 129$")
        whole = self.printed_json("history", "ann", "system", "--all")
        self.assertEqual([f"message {number}" for number in range(130)], [one["msg"] for one in whole["messages"]])
        page = self.done("history", {"user": "ann", "peer": "system"})
        self.assertEqual(page["messages"], whole["messages"][-len(page["messages"]) :])
        self.assertIsNone(whole["next"])
        part = self.printed_json("history", "ann", "system", "-n", "110")
        self.assertEqual((110, part["messages"][0]["mid"]), (len(part["messages"]), part["next"]))
        before = self.printed("history", "ann", "system", "-n1", "--before", part["next"])
        self.assertIn("message 19\n", before)
        self.assertEqual("", self.printed("history", "ann", "nobody"))

    def test_edits_deletions_and_reactions_are_shown_and_exported(self) -> None:
        for text in ("first", "second"):
            self.done("send", {"from": "ben", "to": "ann", "msg": text})
        first, second = self.mids("ann", "ben")
        self.done("messages/edit", {"user": "ben", "mid": first, "msg": "better"})
        self.done("messages/react", {"user": "ann", "mid": first, "emoji": "+1"})
        self.done("messages/delete", {"user": "ben", "mid": second})
        self.assertRegex(self.printed("history", "ann", "ben"), r": better \(edited\)\n.*: \(deleted\)\n\Z")
        messages = self.done("history", {"user": "ann", "peer": "ben"})["messages"]
        self.assertEqual({"+1": ["ann"]}, messages[0]["reactions"])
        self.assertEqual(messages, self.printed_json("history", "ann", "ben")["messages"])
        _, *rest = map(json.loads, self.printed("export", "ann").splitlines())
        self.assertEqual([{"peer": "ben", **one} for one in messages], rest)

    def test_no_text_reaches_the_terminal_as_an_order(self) -> None:
        self.done("send", {"to": "ann", "msg": "\x1b[2Jgone\nand a line", "from": "b\x1ben"})
        self.assertIn("b\\x1ben > ann: \\x1b[2Jgone\\nand a line\n", self.printed("history", "ann", "b\x1ben"))

    def test_tail_shows_each_message_once_and_in_order(self) -> None:
        for number in range(3):
            self.done("send", {"to": "ann", "msg": number})
        rounds = [[("ben", "#r"), ("cem", "ann")], [], [("ben", "ann")] * 130, []]
        for user in ("ann", "ben"):
            self.done("rooms/add", {"room": "#r", "users": [user]})
        sent: list[int] = []

        def slept(seconds: float) -> None:
            if not rounds:
                raise Enough
            for sender, to in rounds.pop(0):
                sent.append(len(sent))
                self.done("send", {"from": sender, "to": to, "msg": 100 + sent[-1]})

        self.slept = slept
        status, output, _ = self.run_command("tail", "ann", "-n", "2", "--json")
        self.assertEqual(130, status)
        self.assertEqual([1, 2, *range(100, 232)], [json.loads(line)["msg"] for line in output.splitlines()])
        rounds = [[("ben", "ann"), ("cem", "ann")]]
        sent.clear()
        _, output, _ = self.run_command("tail", "ann", "ben", "-n0")
        self.assertRegex(output, r"\A\S+ \S+ ben > ann: 100\n\Z")

    def test_status_is_one_screen(self) -> None:
        self.daemon.joined("ann")

        def slept(seconds: float) -> None:
            for number in range(10):
                self.done("send", {"to": "ann", "msg": number})

        self.slept = slept
        output = self.printed("status", "-i", "2")
        self.assertIn("1 socket, 5.0 messages/s acknowledged, ", output)
        self.assertRegex(output, r"p99 +lag +services\n.* \d+\.\d ms +\d+\.\d ms +- +ok\n")
        self.assertLess(output.count("\n"), 10)
        found = self.printed_json("status")
        self.assertEqual((1, True), (found["now"]["daemons"][0]["users"], found["now"]["complete"]))
        self.daemon.context.reporter.shows(
            connections=lambda: 7,
            services=lambda: {"store": False, "bus": None},
            queues=dict,
            lags=lambda: {"store": 0.0021, "router": 1.5, "bus": 0.2},
        )
        output = self.printed("status", status=NO)
        self.assertRegex(output, r" router 1,500\.0 ms +store down\n")

    def test_rates_are_of_the_time_that_passed_however_long_a_look_takes(self) -> None:
        self.daemon.joined("ann")

        def slept(seconds: float) -> None:
            for number in range(10):
                self.done("send", {"to": "ann", "msg": number})
            self.daemon.clock.advance(seconds + 2)

        self.slept = slept
        self.assertIn(" 2.5 messages/s acknowledged", self.printed("status", "-i", "2"))
        self.assertEqual(4.0, round(self.printed_json("status", "-i", "2")["seconds"], 3))

    def test_status_may_be_watched(self) -> None:
        looks = iter(range(3))

        def slept(seconds: float) -> None:
            if next(looks, None) is None:
                raise Enough

        self.slept = slept
        self.assertEqual(
            (130, 3), (lambda found: (found[0], found[1].count("daemon ")))(self.run_command("status", "-w"))
        )


class Changing(CommandsTestCase):
    def test_rooms(self) -> None:
        self.assertEqual("ann\nben\n", self.printed("rooms", "add", "team", "ann", "ben"))
        self.assertEqual({"changed": []}, self.printed_json("rooms", "add", "#team", "ann"))
        self.assertEqual("ann\nben\n", self.printed("rooms", "members", "team"))
        self.assertEqual({"members": ["ann", "ben"], "total": 2}, self.printed_json("rooms", "members", "team"))
        self.assertEqual("#team\n", self.printed("rooms", "of", "ann"))
        self.assertEqual("ben\n", self.printed("rooms", "remove", "#team", "ben", "cem"))
        self.assertEqual({"rooms": []}, self.printed_json("rooms", "of", "ben"))
        for wrong in (["drop", "team"], ["add", "team"], ["of", "ann", "ben"], ["members"]):
            self.assertEqual(1, self.run_command("rooms", *wrong)[0], wrong)

    def test_disconnect(self) -> None:
        self.daemon.joined("ann")
        self.assertEqual("", self.printed("disconnect", "ann"))
        self.assertEqual({}, self.printed_json("disconnect", "ann"))
        self.assertEqual([], self.done("sockets", {"user": "ann"})["sockets"])

    def test_export_has_all_that_is_kept(self) -> None:
        self.done("rooms/add", {"room": "#r", "users": ["ann"]})
        self.daemon.context.store.block("ann", "dan", 10)
        self.daemon.context.store.subscribe("ann", PushSubscription("https://push.example.org/1", "key", "auth"), 10)
        for number in range(150):
            self.done("send", {"to": "ann", "msg": number, "from": "ben" if number % 3 else "cem"})
        self.done("send", {"to": "#r", "msg": "room", "from": "ann"})
        first, *rest = map(json.loads, self.printed("export", "ann").splitlines())
        kept = {"rooms": ["#r"], "blocked": ["dan"], "push": ["https://push.example.org/1"]}
        self.assertEqual({"user": "ann", "lastSeen": None, **kept}, first)
        self.assertEqual({*range(150), "room"}, {one["msg"] for one in rest})
        self.assertEqual(151, len(rest))
        page = self.done("export", {"user": "ann"})
        self.assertEqual({"peer": page["peer"], **page["messages"][0]}, rest[0])
        self.assertEqual({"ben", "cem", "#r"}, {one["peer"] for one in rest})
        path = Path(self.mktemp())
        self.assertEqual("", self.printed("export", "ann", "--output", str(path)))
        self.assertEqual((152, 0o600), (path.read_text().count("\n"), path.stat().st_mode & 0o777))
        self.assertEqual(1, self.run_command("export", "ann", "-o", str(path))[0])
        self.assertEqual(1, self.printed("export", "nobody").count("\n"))

    def test_what_is_written_during_an_export_is_in_it(self) -> None:
        for peer in ("a", "b", "c", "d"):
            self.done("send", {"from": peer, "to": "ann", "msg": peer})
        found, cursor, late = [], None, ["c", "new"]
        while True:
            page = self.done("export", {"user": "ann", **({} if cursor is None else {"cursor": cursor})})
            found += [one["msg"] for one in page["messages"]]
            if late:
                self.done("send", {"from": late[0], "to": "ann", "msg": f"late {late.pop(0)}"})
            cursor = page["next"]
            if cursor is None:
                break
        self.assertEqual({"a", "b", "c", "d", "late c", "late new"}, set(found))
        wrongs: list[object] = ["x", [], {"x": 1}, {"peer": 1}, {"began": "a" * 65}]
        for wrong in wrongs:
            self.assertEqual((400, "invalid"), self.refused(self.ask("export", {"user": "ann", "cursor": wrong})))

    def test_erase_asks_unless_it_is_told_not_to(self) -> None:
        self.daemon.joined("ann")
        self.done("send", {"to": "ann", "msg": 1})
        self.assertEqual(1, self.run_command("erase", "ann")[0])

        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        self.typed = Terminal("n\n")
        status, output, errors = self.run_command("erase", "ann")
        self.assertEqual((1, ""), (status, output))
        self.assertIn("cannot be undone. [y/N] ", errors)
        self.assertEqual(1, len(self.mids("ann", "system")))
        self.typed = Terminal("y\n")
        self.assertEqual("deleted 1 message\n", self.run_command("erase", "ann")[1])
        self.assertEqual({"messages": 0}, self.printed_json("erase", "ann", "--yes"))
        self.assertEqual([], self.done("sockets", {"user": "ann"})["sockets"])
        self.daemon.clock.advance(60)
        self.assertIsNone(self.done("presence", {"users": ["ann"]})["users"]["ann"]["lastSeen"])


class Calling(CommandsTestCase):
    """Where the API is, and what is wrong with a call."""

    def test_each_operand_and_option_is_checked(self) -> None:
        for wrong, said in (
            (["sockets"], "sockets: USER is missing"),
            (["sockets", "a", "b"], "'b' is one too many"),
            (["history", "ann"], "PEER is missing"),
            (["history", "ann", "ben", "--lines", "x"], "--lines: 'x' is not a number"),
            (["status", "--interval", "0"], "--interval: '0' is not a number of seconds"),
            (["online", "--jsn"], "did you mean --json?"),
            (["send", "ann", "hi", "--timeout", "soon"], "--timeout: 'soon'"),
        ):
            status, output, errors = self.run_command(*wrong)
            self.assertEqual((1, "", 1), (status, output, errors.count("\n")), errors)
            self.assertIn(said, errors)

    def test_without_an_api_or_a_key_it_says_what_is_missing(self) -> None:
        for environ, said in (
            ({}, "where is the API?"),
            ({"KSCHAT_API": "http://h"}, "the API's key is missing"),
            ({"KSCHAT_API_LISTEN": "unix:/x", "KSCHAT_API_KEY": "x"}, "does not tell the API's URL"),
            ({"KSCHAT_API": "http://h", "KSCHAT_API_KEYS": "/nothing"}, "/nothing can't be read"),
        ):
            status, _, errors = self.run_command("online", environ=environ)
            self.assertEqual(1, status)
            self.assertIn(said, errors)

    def test_the_settings_of_the_daemon_tell_where_it_is(self) -> None:
        keys = Path(self.mktemp())
        keys.write_text(f'[a]\nsha256 = "{"0" * 64}"\nscopes = ["*"]\n[b]\nkey = "{KEY}"\nscopes = ["presence"]\n')
        environ = {"KSCHAT_API_LISTEN": "tcp:9200:interface=127.0.0.1", "KSCHAT_API_KEYS": str(keys)}
        self.assertEqual(0, self.run_command("online", environ=environ)[0])
        status, _, errors = self.run_command("history", "ann", "ben", environ=environ)
        self.assertEqual((1, True), (status, "no key, in clear, with the scope read" in errors))
        self.assertEqual(KEY, key_in(str(keys), "presence"))
        for endpoint, url in (
            ("tcp:9200", "http://127.0.0.1:9200"),
            ("tcp:9200:interface=10.0.0.1", "http://10.0.0.1:9200"),
            ("tcp:port=9200:interface=0.0.0.0", "http://127.0.0.1:9200"),
            ("tcp6:9200:interface=\\:\\:1", "http://[::1]:9200"),
            ("tcp6:9200:interface=\\:\\:", "http://[::1]:9200"),
            ("ssl:9200:privateKey=a:certKey=b:interface=chat.example.net", "https://chat.example.net:9200"),
        ):
            self.assertEqual(url, url_of(endpoint))

    def test_the_key_may_be_in_a_file(self) -> None:
        file = Path(self.mktemp())
        file.write_text(KEY + "\n")
        environ = {"KSCHAT_API": "http://h", "KSCHAT_API_KEY": "another"}
        self.assertEqual(0, self.run_command("online", "--key-file", str(file), environ=environ)[0])
        self.assertEqual(REFUSED, self.run_command("online", environ=environ)[0])

    def test_an_api_that_is_not_there_gives_its_own_status(self) -> None:
        client = ApiClient("http://127.0.0.1:1", KEY, timeout=5)
        failure = self.assertRaises(ApiFailure, client.raw, "counts")
        self.assertEqual(UNREACHABLE, failure.status)
        for url in ("ftp://h", "http://", "http://h:x", "http://h/path"):
            self.assertRaises(ConfigError, ApiClient, url, KEY, timeout=5)
        self.assertRaises(ConfigError, ApiClient, "http://h", "a key", timeout=5)


class Inspecting(CommandsTestCase):
    def inspected(self, token: str, *more: str, environ: dict[str, str] | None = None) -> tuple[int, Any]:
        environ = {"KSCHAT_SECRET": SECRET} if environ is None else environ
        status, output, errors = self.run_command("token", "inspect", token, "--json", *more, environ=environ)
        self.assertEqual("", errors)
        return status, json.loads(output)

    def made(self, *more: str) -> str:
        _, output, _ = self.run_command("token", "--user", "ann", *more, environ={"KSCHAT_SECRET": SECRET})
        return output.strip()

    def test_it_says_what_a_token_says_and_whether_it_counts(self) -> None:
        token = self.made("--rooms", "a")
        status, found = self.inspected(token)
        self.assertEqual((0, True, "ann"), (status, found["accepted"], found["user"]))
        self.assertEqual(("HS256", {"id": "ann", "rooms": ["a"]}), (found["header"]["alg"], found["claims"]["data"]))
        self.typed = io.StringIO(f"Bearer {token}\n")
        self.assertEqual(0, self.inspected("-")[0])
        text = self.run_command("token", "inspect", token, environ={"KSCHAT_SECRET": SECRET})[1]
        self.assertIn("accepted: for the user ann\n", text)
        self.assertRegex(text, r"exp: 2023-11-14 23:13:\d\dZ \(in 1:00:00\)")

    def test_it_says_why_a_token_is_refused(self) -> None:
        token = self.made()
        self.daemon.clock.advance(3601)
        for text, reason in ((token, "expired"), (token[:-4] + "AAAA", "signature"), ("x", "not a JWT")):
            status, found = self.inspected(text)
            self.assertEqual((NO, False), (status, found["accepted"]))
            self.assertIn(reason, found["reason"])

    def test_without_a_key_it_says_what_can_be_read(self) -> None:
        status, found = self.inspected(self.made(), environ={})
        self.assertEqual((0, None, "ann"), (status, found["accepted"], found["claims"]["data"]["id"]))

    def test_there_is_one_token(self) -> None:
        for wrong in ([], ["a", "b"]):
            self.assertEqual(1, self.run_command("token", "inspect", *wrong, environ={})[0])


class Made(SynchronousTestCase):
    """What is made from the definitions."""

    def test_the_files_in_the_tree_are_those_that_make_docs_writes(self) -> None:
        made = made_files()
        for path, text in made.items():
            self.assertEqual(text, (ROOT / path).read_text("utf-8"), f"{path}: run make docs")
        there = {
            str(path.relative_to(ROOT)) for part in ("man", "completion") for path in (ROOT / "deploy" / part).iterdir()
        }
        self.assertEqual(set(made), there)

    def test_the_page_has_no_code_within_code(self) -> None:
        """Options are set as code, but not a second time in a command line that is code as a whole."""
        page = (ROOT / "docs" / "commands.md").read_text("utf-8")
        self.assertIn("as `twistd -n --pidfile= kschat` does. With `--processes`, runs several", page)

    def test_each_command_has_a_help_with_its_options_and_statuses(self) -> None:
        for name, definition in DEFINITIONS.items():
            text = definition.help()
            for option in definition.options:
                self.assertIn(f"--{option.name}", text, name)
            self.assertTrue(all(len(line) < 80 for line in text.splitlines() if not line.startswith("  kschat ")), text)
            if name in API_COMMANDS:
                self.assertIn("--json", text)
                self.assertIn("\n  4  ", text)
        for name, _, options, _ in cli.CommandOptions.subCommands:
            self.assertEqual(DEFINITIONS[name].help(), str(options()).lstrip("\n"))
        self.assertEqual(set(API_COMMANDS) | set(cli.LOCAL), set(DEFINITIONS))

    def test_no_option_has_the_name_or_letter_of_another_one(self) -> None:
        for name, _, options, _ in cli.CommandOptions.subCommands:
            parsed = options()
            letters = list(getattr(parsed, "shortOpt", "").replace(":", ""))
            self.assertEqual(len(set(letters)), len(letters), name)
            longs = [one.rstrip("=") for one in parsed.longOpt]
            self.assertEqual(len(set(longs)), len(longs), name)

    def test_bash_completes_commands_options_and_choices(self) -> None:
        bash = require_program("bash")

        def completed(*words: str) -> list[str]:
            script = (
                f"{completion('bash')}\nCOMP_WORDS=({' '.join(words)} ''); COMP_CWORD={len(words)}\n"
                "compopt() { :; }\n_kschat; printf '%s\\n' \"${COMPREPLY[@]}\""
            )
            program = [bash, "--norc", "-c", script]
            found = subprocess.run(program, check=True, capture_output=True, text=True, env={"PATH": os.defpath})
            self.assertEqual("", found.stderr)
            return found.stdout.split()

        self.assertEqual([*DEFINITIONS, "--help", "--version"], completed("kschat"))
        self.assertIn("--cid", completed("kschat", "send"))
        self.assertIn("members", completed("kschat", "rooms"))
        for option in ("--before", "-b", "-n"):
            self.assertEqual([], completed("kschat", "history", option), option)
        self.assertIn("--cid", completed("kschat", "send", "-r"))

    def test_other_shells_find_nothing_wrong_with_theirs(self) -> None:
        for shell in ("zsh", "fish"):
            text = completion(shell)
            for name, definition in DEFINITIONS.items():
                self.assertIn(name, text)
                for option in definition.options:
                    self.assertIn(f"--{option.name}" if shell == "zsh" else f"-l {option.name}", text)
            path = Path(self.mktemp())
            path.write_text(text)
            environ = {"HOME": str(path.parent), "PATH": os.defpath}
            subprocess.run([require_program(shell), "-n", str(path)], check=True, env=environ)
        self.assertEqual(("bash", "zsh", "fish"), SHELLS)

    def test_man_finds_nothing_wrong_with_a_page(self) -> None:
        program = require_program("groff")
        for path, text in made_files().items():
            if not path.startswith("deploy/man/"):
                continue
            self.assertRegex(text, r"\A\.TH KSCHAT")
            for section in ("NAME", "SYNOPSIS", "DESCRIPTION", '"EXIT STATUS"'):
                self.assertIn(f"\n.SH {section}\n", text, path)
            self.assertFalse(re.search(r"[^\x00-\x7f]", text), path)
            found = subprocess.run(
                [program, "-man", "-Tascii", "-ww", "-z"], input=text, capture_output=True, text=True, check=True
            )
            self.assertEqual("", found.stderr, path)


class Figures(SynchronousTestCase):
    def test_a_quantile_is_of_what_came_between_two_looks(self) -> None:
        bounds = [0.001, 0.01, 0.1]
        before, now = (Histogram(bounds=bounds, counts=counts) for counts in ([90, 0, 0, 10], [90, 98, 2, 10]))
        self.assertEqual((0.01, 0.1), (quantile(now, before, 0.5), quantile(now, before, 0.99)))
        self.assertEqual((0.001, 0.1), (quantile(before, before, 0.5), quantile(before, None, 0.99)))
        self.assertIsNone(quantile(Histogram(bounds=bounds, counts=[0] * 4), None, 0.5))
