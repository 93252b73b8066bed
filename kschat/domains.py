"""Domain names."""

from __future__ import annotations

from collections.abc import Iterator


def domains_above(host: str) -> Iterator[str]:
    """The domains that a host is a subdomain of, label by label: ``b.c`` and ``c`` of ``a.b.c``."""
    _, dot, above = host.partition(".")
    while dot:
        yield above
        _, dot, above = above.partition(".")
