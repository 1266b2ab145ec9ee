"""`python -m local.audit`: known vulnerabilities of what is locked, by `pip-audit`.

The exit status is 1 if there is one. Where the database cannot be reached, or knows none of the packages, as behind
some mirrors, it says so and the exit status is 0: a build that has no network must still be able to pass.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
LOCKS: Final = ("requirements.txt", "requirements-dev.txt")


def audit(lock: Path) -> tuple[list[str], str | None]:
    """Give the vulnerabilities of what `lock` pins, and why nothing could be found out, if so."""
    done = subprocess.run(  # noqa: S603 — a pinned package
        [
            *(sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes", "--disable-pip"),
            *("--progress-spinner", "off", "--timeout", "15", "--format", "json"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return read(done.stdout, done.stderr)


def read(out: str, err: str) -> tuple[list[str], str | None]:
    """Read what pip-audit printed; both are empty if all is well."""
    try:
        packages: list[dict[str, Any]] = json.loads(out)["dependencies"]
    except (ValueError, KeyError):
        return [], (err.strip().splitlines() or ["no answer"])[-1]
    found = [
        f"{package['name']} {package['version']}: {each['id']}, mended in {', '.join(each['fix_versions']) or 'none'}"
        for package in packages
        for each in package.get("vulns", ())
    ]
    if packages and all("skip_reason" in package for package in packages):
        return [], packages[0]["skip_reason"]
    return found, None


def main() -> int:
    """Audit all locks; give the exit status."""
    status = 0
    for name in LOCKS:
        found, why_not = audit(ROOT / name)
        for each in found:
            print(f"{name}: {each}", file=sys.stderr)
            status = 1
        if why_not:
            print(f"{name}: not audited, the database of vulnerabilities could not be asked ({why_not})")
    return status


if __name__ == "__main__":
    sys.exit(main())
