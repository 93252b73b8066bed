"""Finds kschat's templates, static files and admin page, in a checkout or in an installed package.

In a wheel they lie inside the package, where ``setup.py`` copies them; in a checkout, and so in an editable install,
beside it.
"""

from typing import Literal

from twisted.python.filepath import FilePath


def shipped(name: Literal["templates", "static", "admin"]) -> FilePath[str]:
    """The directory ``name`` that belongs to this package. Raises FileNotFoundError if it is in neither place."""
    package = FilePath(__file__).parent()
    for place in (package, package.parent()):
        directory = place.child(name)
        if directory.isdir():
            return directory
    raise FileNotFoundError(
        f"kschat was installed without its directory {name!r}: neither beside nor in {package.path}"
    )


def directory(name: Literal["templates", "static"], configured: str) -> FilePath[str]:
    """The directory of the setting ``name``: the one that was configured, else the one that was shipped."""
    return FilePath(configured) if configured else shipped(name)
