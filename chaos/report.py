"""What a run says when it has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from chaos.daemon import Daemon
from chaos.disclosed import LogSearch
from chaos.ledger import Ledger

#: Texts of one kind that are shown.
MOST = 10


def tell(ledger: Ledger, faults: Mapping[str, int], wrong: Mapping[str, int], say: Callable[[str], object]) -> None:
    """All counts, a line each, and what of those that must be 0 is not."""
    counts = ledger.counts
    got, cut = ledger.receipts
    say("faults done: " + ", ".join(f"{count} {kind}" for kind, count in sorted(faults.items())))
    refusals = {f"refused with {name}": count for name, count in sorted(counts.items()) if name.startswith("ER ")}
    rows = {
        "connections": counts["connections"],
        "of them recovered": counts["recovered"],
        "not recovered though it had an offset": counts["not recovered"],
        "attempts to connect that failed": counts["attempts to connect that failed"],
        "ended by the program's disconnect()": counts["disconnect()"],
        "sent": counts["sent"],
        "acknowledged": len(ledger.acked),
        "of them as a repeat": counts["repeats"],
        "refused, and sent again": counts["refused"],
        "edits and deletions": counts["edited"] + counts["deleted"],
        **refusals,
        "told that a queue is gone": counts["told that a queue is gone"],
        "received": got,
        "repeats that clients cut": cut,
        **wrong,
    }
    for name, count in rows.items():
        say(f"{name:45}{count:9,}" + ("   must be 0" if name in wrong and count else ""))
    texts = [f"{key} did not come to {', '.join(users)}" for key, users in ledger.awaited.items()]
    texts += [f"{key} came to {device} behind a later one" for device, key in ledger.disordered()]
    texts += ledger.missing()
    texts += [f"{name} shows another text of {mid}" for name, mid in sorted(ledger.outdated)]
    for text in (*texts[:MOST], *ledger.odd[:MOST], *ledger.unchanged[:MOST]):
        say(f"  {text}")


def verdict(
    ledger: Ledger,
    faults: Mapping[str, int],
    *,
    wrong: dict[str, int],
    daemons: Mapping[str, Daemon],
    stuck: str,
    say: Callable[[str], object],
) -> list[str]:
    """The end of a run: all counts, the logs of daemons where they matter, and what must be 0 and is not.

    Args:
        ledger: what clients saw.
        faults: what was done, and how often.
        wrong: the counts that must be 0.
        daemons: by what they are called.
        stuck: what did not come in time; "" if all did.
        say: is told each line.
    """
    tell(ledger, faults, wrong, say)
    for name, daemon in daemons.items():
        if stuck or daemon.faults:
            say(f"{name}:")
            tell_log(daemon, say)
    counts = {**wrong, stuck: 1} if stuck else wrong
    return [name for name, count in counts.items() if count]


def disclosures(search: LogSearch, say: Callable[[str], object]) -> dict[str, int]:
    """Say how much was searched in each log; the counts that must be 0."""
    for name, (lines, size) in search.logs.items():
        say(f"{f'the log of {name}':45}{lines:9,} lines, {size:,} characters, searched for tokens and texts")
    for text in search.shown:
        say(f"  {text}")
    # An empty log was not read.
    empty = sum(not lines for lines, _ in search.logs.values())
    return {
        "lines of logs with a token, text or secret": sum(search.found.values()),
        "empty logs": empty or int(not search.logs),
    }


def tell_log(daemon: Daemon, say: Callable[[str], object]) -> None:
    """What a daemon's log has that nothing may bring about, and its end."""
    for text in daemon.faults[:MOST]:
        say(f"  {text}")
    say(daemon.tail)


def who(ledger: Ledger) -> str:
    """Who takes part."""
    kinds = Counter(actor.version for actor in ledger.actors)
    users = len({actor.user for actor in ledger.actors})
    names = {1: "1.7.4", 2: "2.5.0", 3: "3.1.3", 4: "4.8.4"}
    clients = [f"{kinds[version]} clients {name}" for version, name in names.items() if kinds[version]]
    return f"{users} users with {', '.join(clients[:-1])} and {clients[-1]}"
