"""What a certificate says of itself, in words for an operator."""

from __future__ import annotations

import datetime

from cryptography import x509


def certificate_text(leaf: x509.Certificate, now: datetime.datetime) -> str:
    """Whom a certificate is of, and until when: ``certificate of chat.example.org until 2027-01-31``.

    Raises:
        ValueError: it is not valid now; the text is one sentence.
    """
    if leaf.not_valid_after_utc < now:
        raise ValueError(f"the certificate has expired ({leaf.not_valid_after_utc:%Y-%m-%d})")
    if leaf.not_valid_before_utc > now:
        raise ValueError(f"the certificate is not valid yet ({leaf.not_valid_before_utc:%Y-%m-%d})")
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = [str(name.value) for name in names]
    except x509.ExtensionNotFound:
        hosts = [leaf.subject.rfc4514_string()]
    return f"certificate of {', '.join(hosts)} until {leaf.not_valid_after_utc:%Y-%m-%d}"
