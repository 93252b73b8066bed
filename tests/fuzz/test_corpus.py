"""What fuzzing has found or kept is played again, without atheris: nothing is raised but what the code names."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from fuzz import corpus
from fuzz.seeds import seeds
from fuzz.targets import TARGETS
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
        self.flushLoggedErrors(KeyError)

    def test_the_corpus_is_small(self) -> None:
        sizes = [path.stat().st_size for path in corpus.CORPUS.glob("*.txt")]
        self.assertLess(sum(sizes), 500_000)
        self.assertEqual({path.stem for path in corpus.CORPUS.glob("*.txt")} - set(TARGETS), set())
