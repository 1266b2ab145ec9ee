"""Build what is deployed: the folder `.build/<arch>/` and, from it, `dist/stopline-<arch>.zip` with its SBOM.

    .venv/bin/python -m local.build                     # .build/arm64
    .venv/bin/python -m local.build --zip arm64 x86_64  # and both archives
    .venv/bin/python -m local.build --into DIR          # also copied to DIR, as `sam build` asks for

`make package` and `sam build` both come through here, so what is tested is what is deployed. The same sources, lock
and Python give the same archive, byte for byte.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from local.sbom import sbom

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

type Arch = Literal["arm64", "x86_64", "host"]
"""What an artifact runs on: one of Lambda's processors, or this machine (for the local world and the tests)."""

ROOT: Final = Path(__file__).resolve().parent.parent
BUILDS: Final = ROOT / ".build"
ARCHIVES: Final = ROOT / "dist"
LOCK: Final = ROOT / "requirements.txt"
CODE: Final = ("functions", "shared")

NEVER_IMPORTED: Final = frozenset(
    {
        # huaweicloudsdkcore asks for all of these for its own HTTP client, its credential files and its BSON replies.
        # Of it we import the signer and the exceptions, and those need pyasn1 alone. Leaving them out halves the
        # archive and keeps a second HTTP stack from being imported by accident. tests/unit/test_build.py imports
        # every module of ours from the artifact alone, so a wrong line here cannot pass.
        "certifi",
        "charset-normalizer",
        "defusedxml",
        "dnspython",
        "idna",
        "pymongo",
        "pyyaml",
        "requests",
        "requests-toolbelt",
        "simplejson",
        "six",
    }
)

_PLATFORM: Final[dict[Arch, tuple[str, ...]]] = {
    # Amazon Linux 2023 has glibc 2.34; manylinux2014 (2.17) is the oldest tag that every wheel here comes with.
    "arm64": ("--python-platform=aarch64-manylinux2014",),
    "x86_64": ("--python-platform=x86_64-manylinux2014",),
    "host": (),
}

_LOADED_BY: Final[dict[Arch, str]] = {
    "arm64": "cpython-313-aarch64-linux-gnu",
    "x86_64": "cpython-313-x86_64-linux-gnu",
}
"""The Python that can load the native code of an artifact, as it names itself (PEP 3149)."""

RUNNING: Final[str] = sysconfig.get_config_var("SOABI")

# The installer's own notes and the console scripts: neither is imported, and both differ from machine to machine.
_INSTALLERS_NOTES: Final = ("*.dist-info/INSTALLER", "*.dist-info/RECORD", "*.dist-info/REQUESTED", ".lock", "bin")

LARGEST_ARCHIVE: Final = 12_000_000
"""Bytes. Our own bound, since a small archive starts fast; Lambda takes 50 MB."""

_IMPORT_LIKE_LAMBDA: Final = """\
import importlib, importlib.util, os, sys
artifact, *modules = sys.argv[1:]
sys.path.insert(0, artifact)

# The events that tell of it: https://docs.python.org/3/library/audit_events.html. Not all ways to make a process are
# refused by Lambda, but none has a place in an import.
WRITES = {
    *("os.chflags", "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink"),
    *("os.truncate", "os.utime", "os.setxattr", "os.removexattr", "sqlite3.connect"),
}
PROCESSES = ("subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn")
OF_NO_NETWORK = {"socket.__new__", "socket.gethostname"}

def refuse(event, arguments):
    if event == "open":
        _, mode, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC):
            raise PermissionError(f"{arguments[0]}: the file system is read-only")
    elif event in WRITES:
        raise PermissionError(f"{event} {arguments[0]}: the file system is read-only")
    elif event.startswith("socket.") and event not in OF_NO_NETWORK:
        raise PermissionError(f"{event}: there is no network yet")
    elif event.startswith(PROCESSES):
        raise PermissionError(f"{event}: no other process is started")

sys.addaudithook(refuse)
for module in modules:
    imported = importlib.import_module(module)
    if module.startswith("functions."):
        assert callable(imported.handler), f"{module} has no handler"
for absent in ("boto3", "botocore", "requests", "pytest"):
    assert importlib.util.find_spec(absent) is None, f"{absent} is in reach"
for module in list(sys.modules.values()):
    assert "site-packages" not in (getattr(module, "__file__", None) or ""), module
"""

_WHERE_LAMBDA_UNPACKS: Final = "/var/task"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip entry can hold."""


class BuildFailed(Exception):
    """No artifact; the message says what to mend."""


def build(arch: Arch) -> Path:
    """Give the folder with everything that a function of this `arch` imports, built anew only if something changed.

    Raises `BuildFailed`. Safe to call from several processes at once.
    """
    _demand_python_3_13()
    with _one_at_a_time():
        packages, recipe = _packages(arch)
        sources = [path for name in CODE for path in sorted((ROOT / name).rglob("*.py"))]
        digest = _digest(recipe, *(part for path in sources for part in (path.relative_to(ROOT), path.read_bytes())))
        artifact = BUILDS / arch
        with _renewed(artifact, digest) as fresh:
            if fresh is None:
                return artifact
            shutil.copytree(packages, fresh, dirs_exist_ok=True)
            for path in sources:
                copy = fresh / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
            _compile(fresh, [fresh / name for name in CODE])
        return artifact


def check_imports(artifact: Path) -> None:
    """Import every module of ours from `artifact` alone, as Lambda would; raises `BuildFailed` if one does not.

    No variable is set, nothing can be written or called, and neither boto3 nor what this machine has installed is in
    reach. The artifact must be for this machine.
    """
    modules = [
        ".".join(path.relative_to(artifact).with_suffix("").parts)
        for name in CODE
        for path in sorted((artifact / name).rglob("*.py"))
        if path.stem != "__init__"
    ]
    done = subprocess.run(  # noqa: S603 — our own; -I -S: no site-packages, no working directory, no PYTHONPATH
        [sys.executable, "-I", "-S", "-c", _IMPORT_LIKE_LAMBDA, str(artifact), *modules],
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or done.stderr:
        raise BuildFailed(f"the artifact does not import as it would in Lambda:\n{done.stderr.strip()}")


def package(arch: Arch) -> tuple[Path, Path]:
    """Give the archive of `build(arch)` (sorted entries, one time stamp, one mode) and its bill of materials.

    Raises `BuildFailed`, also for an archive that is larger than `LARGEST_ARCHIVE` or does not import.
    """
    artifact = build(arch)
    # Of another processor's the same sources and pins stand for it: its native code cannot be loaded here.
    check_imports(artifact if _LOADED_BY.get(arch) == RUNNING else build("host"))
    archive = ARCHIVES / f"stopline-{arch}.zip"
    archive.parent.mkdir(exist_ok=True)
    unfinished = archive.with_suffix(f".{os.getpid()}")
    with zipfile.ZipFile(unfinished, "w") as out:
        for path in sorted(path for path in artifact.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(artifact).as_posix(), date_time=_EPOCH)
            entry.create_system = 3  # Unix, or the mode below means nothing
            entry.external_attr = 0o100644 << 16
            out.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=9)
    if (size := unfinished.stat().st_size) > LARGEST_ARCHIVE:
        unfinished.unlink()
        raise BuildFailed(f"the archive has {size / 1e6:.1f} MB, where {LARGEST_ARCHIVE / 1e6:.0f} are allowed")
    unfinished.replace(archive)
    materials = archive.with_suffix(".cdx.json")
    materials.write_text(sbom(archive, artifact, version=_version()))
    return archive, materials


def _version() -> str:
    declared: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return declared


def deployed_requirements(lock: str) -> str:
    """Give the text of a hashed requirements file without what is `NEVER_IMPORTED`.

    Whatever else the lock comes to hold is deployed: forgetting a line here costs bytes, not a cold start that fails.
    """
    first, *pins = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
    return first + "".join(pin for pin in pins if pin.split("==")[0] not in NEVER_IMPORTED)


def _packages(arch: Arch) -> tuple[Path, str]:
    # The folder with the installed packages, and a digest of all that went into it.
    requirements = deployed_requirements(LOCK.read_text())
    digest = _digest(Path(__file__).read_bytes(), requirements, arch, sys.version)
    packages = BUILDS / "packages" / arch
    with _renewed(packages, digest) as fresh:
        if fresh is not None:
            listed = fresh.with_suffix(".txt")
            listed.write_text(requirements)
            _run(
                *("-m", "uv", "pip", "install", "--quiet", f"--target={fresh}", f"--python={sys.executable}"),
                *("--python-version=3.13", *_PLATFORM[arch], "--only-binary=:all:", "--no-deps"),
                *("--require-hashes", f"--requirements={listed}", "--system-certs"),
                "--link-mode=copy",  # a hard link would let a change here reach into uv's cache
            )
            listed.unlink()
            for pattern in _INSTALLERS_NOTES:
                for note in fresh.glob(pattern):
                    shutil.rmtree(note) if note.is_dir() else note.unlink()
            _compile(fresh, [fresh])
    return packages, digest


def _compile(root: Path, folders: Sequence[Path]) -> None:
    # /var/task is read-only: without bytecode Lambda compiles every module anew at every cold start. Unchecked, because
    # the files never change and their times do not survive the archive.
    # https://docs.python.org/3/reference/import.html#cached-bytecode-invalidation
    _run(
        *("-P", "-m", "compileall", "-q", "-f", "--invalidation-mode=unchecked-hash"),
        *("-s", str(root), "-p", _WHERE_LAMBDA_UNPACKS, *map(str, folders)),
    )


def _run(*arguments: str) -> None:
    # A process of its own with a fixed seed: bytecode depends a little on what the compiling process did before.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run([sys.executable, *arguments], env=environment, cwd=ROOT, check=False)  # noqa: S603  # our own
    if done.returncode:
        raise BuildFailed(f"`python {' '.join(arguments[:4])} …` ended with {done.returncode}, see above")


def _demand_python_3_13() -> None:
    if sys.version_info[:2] != (3, 13):
        raise BuildFailed("bytecode is compiled for the functions' own Python: run this with .venv/bin/python (3.13)")


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    BUILDS.mkdir(exist_ok=True)
    with (BUILDS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _renewed(folder: Path, digest: str) -> Iterator[Path | None]:
    # Yields an empty folder to fill, which takes the place of `folder` once it is whole; None if `folder` is current.
    stamp = folder.with_name(f"{folder.name}.digest")
    if folder.is_dir() and stamp.is_file() and stamp.read_text() == digest:
        yield None
        return
    fresh = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    yield fresh
    stamp.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    stamp.write_text(digest)


def _digest(*parts: str | bytes | Path) -> str:
    whole = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        whole.update(len(data).to_bytes(8) + data)
    return whole.hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Build as the command line says; prints where the result is."""
    parser = argparse.ArgumentParser(prog="python -m local.build", description="Build what is deployed.")
    parser.add_argument("arch", nargs="*", default=["arm64"], help="arm64 (default), x86_64 or host")
    parser.add_argument("--zip", action="store_true", help="also write dist/stopline-<arch>.zip")
    parser.add_argument("--into", type=Path, help="also copy the folder there, for `sam build`")
    asked = parser.parse_args(arguments)
    try:
        for name in asked.arch:
            arch = _arch(name)
            if asked.into:
                shutil.copytree(build(arch), asked.into, dirs_exist_ok=True)
            elif asked.zip:
                archive, materials = package(arch)
                sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
                print(f"{archive.relative_to(ROOT)}  {archive.stat().st_size / 1e6:.1f} MB  sha256 {sha256}")
                print(f"{materials.relative_to(ROOT)}  what it is made of, CycloneDX")
            else:
                print(build(arch).relative_to(ROOT))
    except BuildFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


def _arch(name: str) -> Arch:
    for arch in get_args(Arch.__value__):
        if arch == name:
            return arch  # type: ignore[no-any-return]  # get_args forgets the literal type
    raise BuildFailed(f"no such processor: {name}")


if __name__ == "__main__":
    sys.exit(main())
