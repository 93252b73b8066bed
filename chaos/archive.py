"""What stands in the SQLite file of a daemon that has ended. It reads the tables, and nothing of kschat."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path


def verdict(path: Path, acked: Mapping[str, str], texts: Mapping[str, str | None]) -> Mapping[str, int]:
    """What must be 0, by name.

    Args:
        path: the file.
        acked: the mid of each message that was acknowledged, by its cid.
        texts: the text of each changed message, by its mid; None if it was deleted.
    """
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        twice = connection.execute(
            "SELECT coalesce(sum(times - 1), 0) FROM "
            "(SELECT count(*) AS times FROM messages WHERE cid IS NOT NULL GROUP BY sender, cid HAVING times > 1)"
        ).fetchone()[0]
        stored = dict(connection.execute("SELECT cid, printf('%016x', id) || suffix FROM messages"))
        rows = connection.execute("SELECT printf('%016x', id) || suffix, msg FROM messages WHERE total > 0")
        wrong = [mid for mid, msg in rows if mid in texts and json.loads(msg) != texts[mid]]
        (check,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        holes = connection.execute(
            "SELECT count(*) FROM (SELECT max(offset) - min(offset) + 1 - count(*) AS missing FROM inbox "
            "GROUP BY user HAVING missing <> 0)"
        ).fetchone()[0]
    connection.close()
    return {
        "stored twice with the same cid": twice,
        "acknowledged but not stored": sum(1 for cid, mid in acked.items() if stored.get(cid) != mid),
        "inboxes with a hole": holes,
        "stored otherwise than it was changed to": len(wrong),
        "faults of the file": int(check != "ok"),
    }
