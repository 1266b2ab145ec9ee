"""What may be shown of the value of a setting: enough to find it, but no secret and no login.

A login may be where nobody expects one, and an address that is wrong may be one of which the password is a part. So
what is shown is only what is known to be harmless, and all else is `***`.
"""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "***"

# Words, numbers, a path, a URN of Huawei Cloud's or AWS's. Nothing that could part a name from a password, and no
# escaped character. Half a surrogate pair stands for a byte that is no UTF-8.
_PLAIN: Final = re.compile(
    r"(?!.*//)(?:[\w\s.,/+*\ud800-\udfff-]|%(?![0-9A-F]{2}))*|(?:iam::|arn:)[\w\s:.,/+-]*", re.IGNORECASE | re.DOTALL
)
_SCHEME: Final = re.compile(r"(?:https?|ftp|socks[45][ah]?)://", re.IGNORECASE | re.ASCII)
# A host and a port. Behind them nothing may come that could make a login of what is before it: an `@`, however it is
# written. Of a path is shown only that of a queue.
_ADDRESS: Final = re.compile(
    r"""(?P<shown>\s*(?:(?:https?|ftp|socks[45][ah]?)://)?
            (?:[A-Z0-9._-]+|\[[0-9A-F:.]+])(?::[0-9]{1,5})?
            (?:/[0-9]{12}/[A-Z0-9_-]{1,80}(?:\.fifo)?|/?)[?\#]?)
        (?P<hidden>(?<=[/?\#])[!-~]+)?
        (?P<end>\s*)""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_MAY_BE_AN_AT: Final = re.compile(r"[@%\\]")


def redacted(value: str) -> str:
    """Return what may be shown of the value of a setting."""
    if _PLAIN.fullmatch(value):
        return value
    address = _ADDRESS.fullmatch(value)
    if address and not _MAY_BE_AN_AT.search(value):
        return f"{address['shown']}{HIDDEN if address['hidden'] else ''}{address['end']}"
    scheme = _SCHEME.match(value)
    if scheme is None:
        return HIDDEN
    return scheme[0] if scheme[0] == value else f"{scheme[0]}{HIDDEN}"
