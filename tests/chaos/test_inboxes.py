"""What is wrong in a store is found, by asking it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from chaos import inboxes
from kschat.chat.interfaces import Entry, InboxPage
from tests.contracts.made import message


class Inboxes:
    """As much of a store as is asked: inboxes with these offsets, mids and cids."""

    def __init__(self, kept: Mapping[str, Sequence[tuple[int, str, str]]]) -> None:
        self._kept = kept

    def read(self, user: str, after: int, limit: int) -> Deferred[InboxPage]:
        """See ``IStore``."""
        entries = [Entry(at, message(mid=mid, cid=cid)) for at, mid, cid in self._kept.get(user, ()) if at > after]
        return succeed(InboxPage(entries[:limit]))


class InboxesTests(SynchronousTestCase):
    """Ben's inbox, and what of it is wrong."""

    def wrong(self, *entries: tuple[int, str, str], generation: int = 0) -> dict[str, int]:
        """What is not 0 where ``a`` and ``b`` were acknowledged as the mids 1 and 2."""
        acked, recipients = {"a": "1", "b": "2"}, {"a": ("ben",), "b": ("ben",)}
        store = cast(Any, Inboxes({"ben": entries}))
        asked = Deferred.fromCoroutine(inboxes.verdict(store, ["ben"], acked, recipients, generation))
        return {name: count for name, count in self.successResultOf(asked).items() if count}

    def test_all_is_well(self) -> None:
        self.assertEqual({}, self.wrong((1, "1", "a"), (2, "2", "b")))

    def test_a_message_that_was_acknowledged_and_is_not_there(self) -> None:
        self.assertEqual({"acknowledged but not stored": 1}, self.wrong((1, "1", "a")))

    def test_a_cid_with_two_messages_and_a_message_at_two_offsets(self) -> None:
        entries = (1, "1", "a"), (2, "2", "b"), (3, "3", "a"), (4, "2", "b")
        self.assertEqual({"stored twice with the same cid": 2}, self.wrong(*entries))

    def test_a_hole_is_none_where_a_generation_begins(self) -> None:
        entries = (1, "1", "a"), (101, "2", "b")
        self.assertEqual({"holes in inboxes": 1}, self.wrong(*entries))
        self.assertEqual({}, self.wrong(*entries, generation=100))
        self.assertEqual({"holes in inboxes": 1}, self.wrong((1, "1", "a"), (102, "2", "b"), generation=100))
