"""The attacking process: ``python -m attack.attacker ROW PORT SECONDS CLIENTS_PORT``.

It prepares, says ``prepared``, waits for a line, and attacks; its last line is JSON of what it was answered.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from typing import Final

from attack.rows import ROWS
from attack.scenario import LATE, Attack, Reader

#: Seconds that a row may take beyond its time.
_LATE: Final = 8.0


def main(name: str, port: int, seconds: float, clients_port: int) -> None:
    """Play one row's attacker."""
    row = ROWS[name]
    answers: Counter[str] = Counter()
    reader = Reader(answers)
    reader.start()
    tag = str(os.getpid())
    attacks = [
        Attack(port, clients_port=clients_port, number=number, answers=answers, reader=reader, tls=row.tls, tag=tag)
        for number in range(row.connections)
    ]
    if row.prepare is not None:
        attacks[0].until = time.monotonic() + 60
        row.prepare(attacks[0])
    answers.clear()
    print("prepared", flush=True)
    sys.stdin.readline()
    threads = [threading.Thread(target=row.attack, args=(attack,), daemon=True) for attack in attacks]
    until = time.monotonic() + seconds
    for attack, thread in zip(attacks, threads, strict=True):
        attack.until = until
        thread.start()
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0) + _LATE)
    if any(thread.is_alive() for thread in threads):
        answers[LATE] += 1
    time.sleep(0.1)  # what is on its way
    reader.finish()
    print(json.dumps(dict(answers)), flush=True)
    # Sockets close all at once, as they do when a process dies.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
