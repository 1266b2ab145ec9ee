"""AWS's Query protocol, as far as STS needs it: a form goes in, XML comes out.

https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode
from xml.parsers import expat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONTENT_TYPE: Final = "application/x-www-form-urlencoded; charset=utf-8"


class NotXml(ValueError):
    """What came is no XML that AWS would send. Shows nothing of it: it may hold a token."""


def form(operation: str, version: str, parameters: Mapping[str, str | int | Sequence[str]]) -> bytes:
    """Write a request; a list becomes `Name.member.1`, `Name.member.2` and so on."""
    fields: dict[str, str | int] = {"Action": operation, "Version": version}
    for name, value in parameters.items():
        if isinstance(value, str | int):
            fields[name] = value
        else:
            fields |= {f"{name}.member.{number}": each for number, each in enumerate(value, 1)}
    return urlencode(fields).encode()


def texts(document: bytes) -> dict[str, str]:
    """Give the text of each element that has no elements within it, by its name without the namespace.

    For answers in which every name occurs once. Raises `NotXml`.

    The parser is expat itself. Whatever an XML document can do to its reader (files and addresses fetched, entities
    that grow without bound) begins with a document type declaration, which no answer of AWS has: it is refused at its
    first word, and so is everything that it could declare.
    """
    found: dict[str, str] = {}
    text: list[str] = []
    is_leaf = False

    def refuse(*_: object) -> None:
        raise NotXml("a document type declaration")

    def start(*_: object) -> None:
        nonlocal is_leaf
        is_leaf = True
        text.clear()

    def end(name: str) -> None:
        nonlocal is_leaf
        if is_leaf:
            found[name.rpartition(" ")[2]] = "".join(text)
        is_leaf = False

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    try:
        parser.Parse(document, True)  # noqa: FBT003 - expat has no keywords
    except expat.ExpatError as error:
        raise NotXml(f"no XML ({expat.ErrorString(error.code)})") from None
    return found
