"""`template.yaml`, as written and as CloudFormation gets it. No network and no account is needed for either."""

from __future__ import annotations

import copy
import os
from functools import cache
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

ROOT: Final = Path(__file__).resolve().parent.parent.parent

PARAMETERS: Final = {"HuaweiRegion": "cn-north-4", "HuaweiProjectId": "5f1ac5c3e4b0"}
"""Those without a default."""

type Json = dict[str, Any]


def written() -> Json:
    """Give the template as it is in the repository, with the short forms (`!Ref`) written out."""
    template: Json = yaml_parse((ROOT / "template.yaml").read_text())
    return template


def translated() -> Json:
    """Give the plain CloudFormation that the SAM transform makes of it; the caller may change it."""
    return copy.deepcopy(_translated())


@cache
def _translated() -> Json:
    template = written()
    # As `sam package` does: by the time that the transform runs, the code has been uploaded.
    template["Globals"]["Function"]["CodeUri"] = "s3://code-bucket/stopline.zip"
    # The transform asks boto3 for the region, to know the partition, and for nothing else.
    with patch.dict(os.environ, {"AWS_DEFAULT_REGION": "eu-central-1"}):
        plain: Json = Translator({}, Parser()).translate(template, parameter_values=PARAMETERS)
    return plain
