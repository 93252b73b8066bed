"""Reads the key that tokens are verified with, from the setting that names it."""

from pathlib import Path

from kschat.backends.jwks import JwksSettings
from kschat.chat.keys import Keys, KeysError
from kschat.chat.tokens import ClaimRules
from kschat.settings.model import Config

#: The settings that name the key tokens are verified with, of which there is exactly one.
KEYS = ("secret", "secret_file", "public_key_file", "jwks_file", "jwks_url")


def read_secret(config: Config) -> bytes | None:
    """The shared secret, read from its file where it is in one; None without. Raises OSError."""
    if config.secret:
        return config.secret.encode("utf-8", "surrogateescape")
    return Path(config.secret_file).read_bytes().rstrip(b"\r\n") if config.secret_file else None


def jwks_settings(config: Config) -> JwksSettings | None:
    """Where the keys are fetched; None where they are not."""
    if not config.jwks_url:
        return None
    return JwksSettings(url=config.jwks_url, ca=config.jwks_ca, refresh=config.jwks_refresh)


def claim_rules(config: Config) -> ClaimRules:
    """What a token must claim."""
    return ClaimRules(audience=config.audience, issuer=config.issuer, require_exp=config.require_exp)


def read_keys(config: Config) -> Keys:
    """What tokens are verified with, from whichever setting names it but ``jwks_url``; parsed, fit for the algorithms.

    Raises OSError if a file cannot be read, and ``KeysError`` if what it holds cannot be used; neither is to be
    expected after ``load``, which has looked at the same files.
    """
    keys = _keys(config)
    for algorithm in config.algorithms:
        keys.usable_with(algorithm)
    return keys


def usable_algorithms(config: Config) -> tuple[str, ...]:
    """The algorithms that the key can be used with, whichever are configured; none where it cannot be read."""
    try:
        return tuple(dict.fromkeys(name for key in _keys(config).keys for name in key.algorithms))
    except KeysError:
        return ()


def _keys(config: Config) -> Keys:
    if config.jwks_url:
        raise KeysError("the keys of jwks_url are not in a file")
    secret = read_secret(config)
    if secret is not None:
        return Keys.from_secret(secret)
    if config.public_key_file:
        return Keys.from_pem(Path(config.public_key_file).read_bytes())
    return Keys.from_jwks(Path(config.jwks_file).read_bytes())
