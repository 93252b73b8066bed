"""Text of strangers in lines of the log."""

from __future__ import annotations


def shown(text: str) -> str:
    """``text`` as a line of the log may hold it: what a terminal would obey or not show is escaped, as in Python.

    Ids of users and names of events are chosen by clients; ESC and its kind would reach whoever reads the log.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
