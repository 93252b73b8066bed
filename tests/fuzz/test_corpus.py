"""The kept inputs of fuzzing are played again, without atheris: no target raises an exception."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from fuzz import corpus
from fuzz.seeds import seeds
from fuzz.targets import TARGETS
from kschat.chat import commands
from kschat.chat.operations import Operations
from kschat.wire import engineio


class CorpusTests(SynchronousTestCase):
    def test_each_input_is_read_or_refused_by_a_named_error(self) -> None:
        for name, target in TARGETS.items():
            inputs = [*corpus.read(name), *seeds(name)]
            self.assertTrue(inputs, name)
            for data in inputs:
                try:
                    target(data)
                except Exception as error:  # noqa: BLE001 - and fails with its input
                    self.fail(f"{name}: {data!r} raised {error!r}")

    def test_a_fault_would_be_seen(self) -> None:
        def raises(*_: object) -> None:
            raise KeyError("a bug of ours")

        self.patch(engineio, "decode_text", raises)
        self.assertRaises(KeyError, TARGETS["session"], b"\xff9")
        self.assertRaises(KeyError, TARGETS["sockets"], b"9")
        self.patch(commands, "run", raises)
        self.assertRaises(KeyError, TARGETS["chat"], b'["Typing",{"pId":"ben"}]')
        self.patch(Operations, "on_presence", raises)
        self.assertRaises(KeyError, TARGETS["published"], b"\x03ben\x1e1")
        self.flushLoggedErrors(KeyError)

    def test_each_target_has_a_corpus_and_each_file_a_target(self) -> None:
        self.assertEqual({path.stem for path in corpus.CORPUS.glob("*")}, set(TARGETS))
        self.assertLessEqual({path.stem for path in corpus.FAULTS.glob("*")}, set(TARGETS))

    def test_what_covers_more_is_kept_in_bounds_and_what_showed_a_fault_always(self) -> None:
        place = Path(self.mktemp())
        for name in ("CORPUS", "FAULTS"):
            self.patch(corpus, name, place / name.lower())
        place.mkdir()
        fault = bytes(4 * corpus.MAX_FILE)
        corpus.add_faults("one", [fault])
        corpus.add_faults("one", [b"another", fault])
        corpus.write("one", [b"%05d" % number * 10 for number in range(10_000)] + [bytes(corpus.MAX_INPUT + 1)])
        kept = corpus.read("one")
        self.assertEqual(kept[:2], [fault, b"another"])
        self.assertEqual(kept[2], b"00000" * 10)
        self.assertLessEqual((place / "corpus" / "one.txt").stat().st_size, corpus.MAX_FILE)
        self.assertGreater(len(kept), 100)
        self.assertLessEqual(max(map(len, kept[2:])), corpus.MAX_INPUT)
