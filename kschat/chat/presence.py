"""Who is online, and who is told when that changes. Nothing of it touches the disk."""

from __future__ import annotations

from kschat.chat import bodies
from kschat.chat.feed import Feed


class Presence:
    """Which sockets watch which users. Its size is bounded by what each socket may watch."""

    def __init__(self) -> None:
        self._watchers: dict[str, dict[Feed, None]] = {}

    def watch(self, feed: Feed, users: tuple[str, ...]) -> None:
        """Tell ``feed`` of changes of ``users``, and of no others any more."""
        self.forget(feed)
        feed.watched = users
        for user in users:
            self._watchers.setdefault(user, {})[feed] = None

    def forget(self, feed: Feed) -> None:
        """Tell ``feed`` nothing more."""
        for user in feed.watched:
            watchers = self._watchers.get(user)
            if watchers is not None:
                watchers.pop(feed, None)
                if not watchers:
                    del self._watchers[user]
        feed.watched = ()

    def changed(self, user: str, online: bool, last_seen: int | None) -> None:
        """``user`` came or went: tell who watches, but for those that do not keep up."""
        watchers = self._watchers.get(user)
        if watchers:
            body = bodies.presence(user, online, last_seen)
            for feed in tuple(watchers):
                if not feed.socket.connection.session.transport.congested:
                    feed.socket.emit(body)
