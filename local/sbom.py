"""What the archive is made of, as a CycloneDX document beside it: every package with version, licence and origin.

https://cyclonedx.org/docs/1.6/json/. It names no time and no random number, so the same archive has the same document.
"""

from __future__ import annotations

import hashlib
import json
from email.parser import HeaderParser
from typing import TYPE_CHECKING, Final
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

if TYPE_CHECKING:
    from pathlib import Path

    from cyclonedx.model.license import License

NAME: Final = "stopline"


def sbom(archive: Path, packages: Path, *, version: str) -> str:
    """Give the document, JSON of CycloneDX 1.6, for `archive` with what is installed in the folder `packages`."""
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, f"sha256:{digest}"))
    bom.metadata.component = Component(
        type=ComponentType.APPLICATION,
        name=NAME,
        version=version,
        bom_ref=NAME,
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
    )
    parts = [_component(each) for each in sorted(packages.glob("*.dist-info/METADATA"))]
    bom.components.update(parts)
    bom.register_dependency(bom.metadata.component, parts)
    document = json.loads(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())
    del document["metadata"]["timestamp"]
    return json.dumps(document, indent=2) + "\n"


def _component(metadata: Path) -> Component:
    said = HeaderParser().parsestr(metadata.read_text())
    name, version = said["Name"], said["Version"]
    url = PackageURL("pypi", name=name.lower(), version=version)
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        bom_ref=url.to_string(),
        purl=url,
        licenses=[_licence(said["License-Expression"] or said["License"], said.get_all("Classifier", []))],
    )


def _licence(said: str | None, classifiers: list[str]) -> License:
    """Read a licence as a package tells it: by the field for it, or, in older packages, only by a classifier."""
    if not said or "\n" in said:
        said = next((each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License ::")), "unknown")
    return LicenseFactory().make_from_string(said)
