"""The documents as a reader of their source, and every renderer, needs them."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: each.name)
def test_a_heading_stands_between_blank_lines(document: Path) -> None:
    text = re.sub(r"^```.*?^```$", "```", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    crowded = [pair for pair in pairwise(text.splitlines()) if any(line.startswith("#") for line in pair) and all(pair)]
    assert crowded == []
