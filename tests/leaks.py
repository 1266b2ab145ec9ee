"""Values of settings that hold a secret, in each form that we can think of: none may be seen in an error or a log."""

from __future__ import annotations

from itertools import product
from typing import Final

from hypothesis import strategies as st

SECRET: Final = "S3cr3tPw"

_SCHEMES: Final = ("", "https://", "HTTP://", "//", "https:/", "https//", "socks5://", "postgres://", " https://")
_USERS: Final = ("user:", "us@er:", ":", "user%3A", "user\uff1a", "user:80/", "user:123:", "user:12345#", "user:a?")
_ENDS: Final = (
    *("@host", "%40host", "%2540host", "\uff20host", "\ufe6bhost", "@@host", "\\@host", "#@host", "?@host"),
    *(
        "/x@host",
        "@host:443/path",
        " @host",
        "\n@host",
        "\r\n@host",
        "@[::1]:80",
        "@host/123456789012/q",
        "@host:99999",
    ),
)
_TAILS: Final = (
    *("?token=", "?x=1&token=", "/?x-amz-signature=", "#", "/#", "&token=", ";password=", "?", "/path?k=", ":80:", ":"),
    *(":99999/?token=", "/path/", "/123456789012/q?token=", "/123456789012/q/", "/123456789012/q#"),
)

LEAKS: Final = (
    *(f"{scheme}{user}{SECRET}{end}" for scheme, user, end in product(_SCHEMES, _USERS, _ENDS)),
    *(f"https://{SECRET}{end}" for end in _ENDS),
    *(f"https://host{tail}{SECRET}{end}" for tail, end in product(_TAILS, ("", "/", "&x=1", " "))),
    *(f"{scheme}user:{SECRET}" for scheme in _SCHEMES),
    *(f"{scheme}user:{SECRET}:80" for scheme in _SCHEMES),
    *(f"host{tail}{SECRET}" for tail in ("?t=", "&t=", ";t=", "#", ":")),
    *(f"{SECRET}://host", f"https://[{SECRET}]", f"ak={SECRET}", f"'{SECRET}'", f'{{"ak": "a", "sk": "{SECRET}"}}'),
)


def leaky() -> st.SearchStrategy[str]:
    """A login before an `@`, or the value of a parameter, with anything around it."""
    some = st.text(st.sampled_from("ab19:/?#&=;.%[]-_ \u00e4\uff1a\\\n"), max_size=12)
    ats = st.sampled_from(["@", "%40", "\uff20", "\ufe6b"])
    logins = st.builds(lambda a, b, at, c: f"https://{a}{SECRET}{b}{at}{c}", some, some, ats, some)
    parameters = st.builds(lambda a, mark, b: f"https://host{a}{mark}{SECRET}{b}", some, st.sampled_from("?#&;="), some)
    return logins | parameters
