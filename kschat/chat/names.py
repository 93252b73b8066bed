"""The claim ``data.name``: the name that users are shown for whoever writes to them. Pure."""

from __future__ import annotations

import unicodedata
from typing import Final

#: Characters of a name; of a longer one the beginning is shown.
MAX_NAME: Final = 64

#: Categories of characters that could break a line, hide, or turn the text around them: controls, formats (such as
#: U+202E), halves of surrogate pairs, private use, and what separates lines and paragraphs.
_UNSHOWN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})

#: U+200D, which joins emoji into one, and U+200C, which some scripts need, stay.
_JOINERS: Final = "\u200c\u200d"


def name_of(claim: object) -> str | None:
    """The name that a claim gives, as it is shown; None where it gives none.

    A name is no proof of anything, so a claim that cannot be used is left out and the token is good.

    Args:
        claim: whatever the token says. Of a text, characters that are not shown become spaces, and spaces that stand
            together or at an end go; ``MAX_NAME`` characters are kept.
    """
    if not isinstance(claim, str):
        return None
    if claim.isascii() and claim.isprintable() and len(claim) <= MAX_NAME:
        shown = claim
    else:
        # Enough for a name with as many spaces; the rest of a long text is not looked at.
        start = claim[: 4 * MAX_NAME]
        shown = "".join(" " if unicodedata.category(one) in _UNSHOWN and one not in _JOINERS else one for one in start)
    shown = " ".join(shown.split())[:MAX_NAME].rstrip()
    return shown if shown.strip(_JOINERS) else None
