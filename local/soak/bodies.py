"""Messages of a soak, read back: which command a body holds, in whichever envelope."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def command_in(body: str) -> Mapping[str, Any] | None:
    """Take the command out of a message in whichever envelope; `None` if there is none to be read."""
    try:
        content = json.loads(body)
        if isinstance(content, dict) and content.get("Type") == "Notification":
            content = json.loads(content["Message"])
    except ValueError:
        return None
    if isinstance(content, dict) and "detail-type" in content:
        content = content["detail"]
    return content if isinstance(content, dict) else None


def id_in(body: str) -> str:
    """Give the command's id, or the body itself if it has none."""
    return str((command_in(body) or {}).get("command_id") or body)


def sent_body(body: str) -> str:
    """Give what was sent: what went by the topic comes inside an envelope."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        content = json.loads(body)
        if content["Type"] == "Notification":
            return str(content["Message"])
    return body
