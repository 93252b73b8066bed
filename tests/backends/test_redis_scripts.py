"""The scripts of Redis as texts: what stands at their top, what they include, and that Redis takes them."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kschat.backends.redis import scripts
from kschat.backends.redis.scripts import Scripts
from kschat.chat.outbox import MAX_JOINS, MAX_LOG
from tests.support.redis import shared_redis

FOLDER = Path(scripts.__file__).parent
FILES = sorted(FOLDER.glob("*/*.lua"))
COMMANDS = [path for path in FILES if path.parent.name not in ("includes", "slots")]

#: What a file defines for others.
DEFINED = re.compile(r"^local (?:function (\w+)|([\w, ]+?)(?: =|$))", re.MULTILINE)


def includes(text: str) -> list[str]:
    """The names that a file includes."""
    return re.findall(r'^-- @include "(\w+)"$', text, re.MULTILINE)


def defines(name: str) -> set[str]:
    """What an include defines, and what it includes itself does."""
    text = (FOLDER / "includes" / f"{name}.lua").read_text("utf-8")
    own = {part for one, several in DEFINED.findall(text) for part in [one, *several.split(", ")] if part}
    return own.union(*(defines(other) for other in includes(text)))


class TestTexts(SynchronousTestCase):
    def test_a_command_says_what_it_takes_and_how_many_keys(self) -> None:
        for path in COMMANDS:
            text = path.read_text("utf-8")
            self.assertRegex(path.name, r"^[a-z]\w*-1\.lua$")
            self.assertRegex(text, r"\A-- [A-Z]", path.name)
            self.assertEqual("ARGV[" in text, "\n-- Input:\n--   ARGV[1]" in text, path.name)
            self.assertRegex(text, r"\n-- (?:In|Out)put:\n", path.name)

    def test_what_is_included_is_there_and_used(self) -> None:
        for path in FILES:
            text = path.read_text("utf-8")
            body = re.sub(r"--.*", "", text)
            for name in includes(text):
                used = [one for one in defines(name) if re.search(rf"\b{one}\b", body)]
                self.assertTrue(used, f"{path.name} uses nothing of {name}")
        included = {name for path in FILES for name in includes(path.read_text("utf-8"))}
        self.assertEqual(included, {path.stem for path in (FOLDER / "includes").iterdir()})

    def test_a_daemon_that_connects_tries_each_command_of_the_store_s_scripts(self) -> None:
        loaded = Scripts("store")
        used = {one for name in loaded for one in re.findall(rb"\bcall\('([A-Z]+)'", loaded[name].text)}
        self.assertIn(b"XADD", used)
        self.assertEqual(used - set(re.findall(rb"\{'([A-Z]+)'", loaded["hello"].text)), set())

    def test_no_text_is_included_twice(self) -> None:
        for folder in ("store", "bus"):
            loaded = Scripts(folder)
            for name in loaded:
                text = loaded[name].text.decode()
                self.assertNotIn("@include", text)
                self.assertEqual(text.count("local prefix = KEYS[1]"), 1, name)
                functions = re.findall(r"local function (\w+)", text)
                self.assertEqual(len(functions), len(set(functions)), name)

    def test_what_writes_nothing_says_so(self) -> None:
        loaded = Scripts("store")
        writes = re.compile(r"'(?:XADD|XDEL|XTRIM|HSET|HSETNX|HDEL|HINCRBY|ZADD|ZREM\w*|SADD|SPOP|DEL|UNLINK|SET)'")
        for name in loaded:
            text = loaded[name].text
            self.assertNotEqual(text.startswith(b"#!lua flags=no-writes\n"), bool(writes.search(text.decode())), name)

    def test_without_hooks_a_script_is_what_it_is_without_its_slot(self) -> None:
        plain, filled = Scripts("store"), Scripts("store", ["outbox"])
        slots = {path.name.partition(".")[0]: path for path in (FOLDER / "slots").iterdir()}
        self.assertEqual(set(slots), {"append", "membership"})
        for name in plain:
            self.assertNotIn(b"@slot", plain[name].text)
            if name not in slots:
                self.assertEqual(plain[name].text, filled[name].text)
                continue
            inserted = slots[name].read_bytes()
            self.assertNotIn(b"x:hook", plain[name].text)
            self.assertEqual(filled[name].text.replace(inserted, b"", 1), plain[name].text)
            self.assertIn(inserted, filled[name].text)

    def test_the_bounds_of_the_log_are_the_code_s(self) -> None:
        log = (FOLDER / "slots" / "append.outbox.lua").read_text("utf-8")
        self.assertIn(f"'x:hook:log', {MAX_LOG}\n", log)
        joins = (FOLDER / "slots" / "membership.outbox.lua").read_text("utf-8")
        self.assertIn(f"'MAXLEN', '~', {MAX_JOINS})", joins)

    def test_a_script_is_asked_for_by_its_hash(self) -> None:
        loaded = Scripts("bus")
        sent: list[tuple[object, ...]] = []

        def do(*command: object) -> Deferred[None]:
            sent.append(command)
            return succeed(None)

        self.successResultOf(loaded.run(do, "retire", b"ks:r:", "id"))
        self.assertEqual(sent, [("EVALSHA", loaded["retire"].hash, 1, b"ks:r:", "id")])


class RedisTests(TestCase):
    async def test_redis_knows_each_by_its_hash(self) -> None:
        redis = await shared_redis()
        for loaded in (Scripts("store"), Scripts("store", ["outbox"]), Scripts("bus")):
            for name, script in loaded.items():
                self.assertEqual(redis.do("SCRIPT", "LOAD", script.text).decode(), script.hash, name)
