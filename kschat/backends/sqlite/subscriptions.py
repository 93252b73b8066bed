"""The table of Web Push subscriptions."""

from __future__ import annotations

import sqlite3
from typing import Final

from kschat.chat.push import PushSubscription

_SELECT: Final = (
    "SELECT s.endpoint, s.p256dh, s.auth FROM users u CROSS JOIN subscriptions s ON s.user = u.id "
    "WHERE u.name = ? ORDER BY s.number"
)

#: All of a user's but the newest.
_OLD: Final = "SELECT number FROM subscriptions WHERE user = ? ORDER BY number DESC LIMIT -1 OFFSET ?"


def keep(connection: sqlite3.Connection, user: int, subscription: PushSubscription, most: int) -> None:
    """Keep a subscription, in the open transaction. See ``IStore.subscribe``. Raises sqlite3.Error."""
    connection.execute(
        "INSERT OR REPLACE INTO subscriptions (user, endpoint, p256dh, auth) VALUES (?, ?, ?, ?)",
        (user, subscription.endpoint, subscription.p256dh, subscription.auth),
    )
    connection.execute(f"DELETE FROM subscriptions WHERE number IN ({_OLD})", (user, most))


def forget(connection: sqlite3.Connection, user: int, endpoint: str | None) -> int:
    """Forget one of a user's, or all of them, in the open transaction; how many. Raises sqlite3.Error."""
    if endpoint is None:
        return connection.execute("DELETE FROM subscriptions WHERE user = ?", (user,)).rowcount
    # By the endpoint, of which there is one.
    statement = "DELETE FROM subscriptions WHERE endpoint = ? AND +user = ?"
    return connection.execute(statement, (endpoint, user)).rowcount


def listed(connection: sqlite3.Connection, name: str) -> list[PushSubscription]:
    """Those of a user, the oldest first. Raises sqlite3.Error."""
    return [PushSubscription(*row) for row in connection.execute(_SELECT, (name,)).fetchall()]
