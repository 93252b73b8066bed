"""What the page and its scripts may do in a browser: the headers that say it.

Source: Content Security Policy Level 3 (sections 4.2, 6.1 and 6.7.2.8), Referrer Policy, Permissions Policy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

#: A Host header that is a name or an address, perhaps with a port, and nothing that would end a part of a policy.
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")

#: Nothing but what the daemon serves; pictures and sounds that a message brought are ``blob:``.
_PAGE: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    b"font-src 'self'; worker-src 'self'; manifest-src 'self'; connect-src %b; form-action 'self'; base-uri 'none'; "
    b"object-src 'none'; frame-ancestors %b"
)

#: Of a worker: its policy comes with its script, and not from the page that starts it. Notifications have a picture.
_SCRIPT: Final = b"default-src 'none'; script-src 'self'; img-src 'self'; connect-src %b"

#: Of the admin page. Nothing may show it in a frame, where somebody could be led to click on what cannot be seen.
_ADMIN: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'none'; "
    b"base-uri 'none'; frame-ancestors 'none'"
)

_PERMISSIONS: Final = b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"


def page_headers(host: bytes | None, frame_ancestors: Sequence[str] = ()) -> dict[bytes, bytes]:
    """The headers of the page.

    Args:
        host: the request's Host.
        frame_ancestors: origins whose pages may show the page in a frame.
    """
    ancestors = " ".join(frame_ancestors).encode("ascii") or b"'none'"
    return {
        b"content-security-policy": _PAGE % (connect_sources(host), ancestors),
        b"permissions-policy": _PERMISSIONS,
        b"referrer-policy": b"no-referrer",  # the URL may hold a token
        b"x-content-type-options": b"nosniff",
        b"cache-control": b"no-store",
    }


def admin_headers() -> dict[bytes, bytes]:
    """The headers of the admin page and its files."""
    return {
        b"content-security-policy": _ADMIN,
        b"cross-origin-opener-policy": b"same-origin",
        b"cross-origin-resource-policy": b"same-origin",
        b"permissions-policy": _PERMISSIONS,
        b"referrer-policy": b"no-referrer",
        b"x-content-type-options": b"nosniff",
        b"x-frame-options": b"DENY",
    }


def script_policy(host: bytes | None) -> bytes:
    """The Content-Security-Policy of a script, for when it is a worker."""
    return _SCRIPT % connect_sources(host)


def connect_sources(host: bytes | None) -> bytes:
    """Where scripts may connect: to the daemon alone.

    ``'self'`` covers WebSockets in newer browsers; for the others they are named. Behind a proxy that changes Host the
    names mean nothing, and ``'self'`` is left.
    """
    if host is None or not _HOST.fullmatch(host):
        return b"'self'"
    return b"'self' ws://%b wss://%b" % (host, host)
