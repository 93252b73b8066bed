"""Strangers' text reaches the log as text: nothing in it is obeyed by a terminal."""

from twisted.trial.unittest import SynchronousTestCase

from kschat.log_text import shown


class ShownTests(SynchronousTestCase):
    def test_what_can_be_read_stays(self) -> None:
        for text in ("alice", "zoë Ω 雪 😀", "a\\b", "{user}", "42"):
            self.assertEqual(shown(text), text)

    def test_what_a_terminal_would_obey_is_escaped(self) -> None:
        for text, safe in (
            ("\x1b[2J", "\\x1b[2J"),
            ("a\0b\nc\rd\x9b", "a\\x00b\\nc\\rd\\x9b"),
            ("\u202eevil", "\\u202eevil"),
            ("\u2028", "\\u2028"),
        ):
            self.assertEqual(shown(text), safe)
            self.assertTrue(shown(text).isprintable())
