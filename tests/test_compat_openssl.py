"""Canaries: the privates of pyOpenSSL that are touched are there, or one sentence says which is gone."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from kschat import compat_openssl
from tests.canary import Canary, Private


def connection() -> Any:
    """A TLS connection without a peer."""
    return SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))


class OpenSSL(Canary, SynchronousTestCase):
    module = compat_openssl
    names = (
        Private(lambda: SSL, "_lib", "pyopenssl", "verify_result needs, or nobody learns why a certificate is refused"),
        Private(lambda: SSL._lib, "SSL_get_verify_result", "pyopenssl", "verify_result needs"),  # type: ignore[attr-defined]
        Private(connection, "_ssl", "pyopenssl", "verify_result needs, or nobody learns why a certificate is refused"),
    )

    def test_a_connection_that_verified_nothing_has_nothing_to_say(self) -> None:
        self.assertEqual(compat_openssl.verify_result(connection()), 0)
        self.assertEqual(compat_openssl.verify_result(None), 0)
