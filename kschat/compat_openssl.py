"""Uses of private parts of pyOpenSSL, each with the symptom that made it necessary.

``tests/test_compat_openssl.py`` checks each of them and fails with a one-line message if one has disappeared.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL


def verify_result(connection: Any) -> int:
    """Why OpenSSL did not trust the certificate of a connection's peer (X509_V_ERR_…); 0 where it did, or is not asked.

    Its error says only that verification failed: nobody could tell an expired certificate from one of another
    authority. A callback of our own would tell, but it would take the place of Twisted's, which verifies the name.
    """
    read = getattr(getattr(SSL, "_lib", None), "SSL_get_verify_result", None)
    of = getattr(connection, "_ssl", None)
    number: int = read(of) if read is not None and of is not None else 0
    return number
