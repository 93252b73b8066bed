"""Settings: one frozen ``Config`` from defaults < TOML file < environment < command line, or a one-line error.

- ``setting``     what one setting is: its names, how its text is read, its bounds
- ``model``       ``Config``: all of them
- ``given``       a value and where it came from; ``ConfigError``
- ``services``    RabbitMQ and Redis among the services that Cloud Foundry binds to an app
- ``loading``     ``load``: reads the three sources
- ``validation``  checks across settings: combinations, and files that must exist
- ``weak_secrets``  whether a secret is easily guessed
- ``keyfiles``    the key that tokens are verified with
- ``hints``       likely corrections of an invalid value
- ``table``       a configuration as TOML; the table of settings in the documentation

Nothing here opens a socket; the files that settings name are only looked at.
"""

from kschat.settings.given import ConfigError
from kschat.settings.keyfiles import claim_rules, jwks_settings, read_keys, read_secret
from kschat.settings.loading import load
from kschat.settings.model import ENDPOINTS, SETTINGS, Config
from kschat.settings.table import describe, settings_table
from kschat.settings.validation import control_path, peer_place

__all__ = [
    "ENDPOINTS",
    "SETTINGS",
    "Config",
    "ConfigError",
    "claim_rules",
    "control_path",
    "describe",
    "jwks_settings",
    "load",
    "peer_place",
    "read_keys",
    "read_secret",
    "settings_table",
]
