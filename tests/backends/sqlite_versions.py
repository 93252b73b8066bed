"""SQL that makes a file what an earlier version of the schema had left."""

from __future__ import annotations

from typing import Final

#: From the current version back to the first. A new version of the schema adds its reverse here.
TO_VERSION_1: Final = (
    "DROP INDEX thread_of_member",
    "DROP INDEX late",
    "DROP TABLE held",
    "DROP TABLE lines",
    "DROP TABLE revocations",
    "DROP TABLE blocks",
    "DROP TABLE subscriptions",
    *(f"DROP TABLE hook_{name}" for name in ("progress", "joins", "connected", "waiting", "events")),
    "ALTER TABLE messages DROP COLUMN extra",
    *(f"ALTER TABLE users DROP COLUMN {name}" for name in ("rooms", "given")),
    "UPDATE messages SET own = 0 WHERE own < 0",
    "UPDATE thread SET own = 0 WHERE own < 0",
    *(f"ALTER TABLE progress DROP COLUMN {name}" for name in ("base", "copied", "opener", "erased")),
    "PRAGMA user_version = 1",
)
