"""Huawei Cloud's regions: each that the official clients know is accepted, and has the address that they have."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import huaweicloudsdkcore
import pytest
from huaweicloudsdkcore.auth import endpoint as sdk_endpoints

from shared.errors import DeploymentFault
from shared.settings import StopInWorkflowSettings, read_settings
from tests.template.loading import written

if TYPE_CHECKING:
    from collections.abc import Iterator

ENVIRONMENT: Final = {
    "HUAWEICLOUD_SDK_PROJECT_ID": "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
    "HUAWEICLOUD_SECRET_ID": "stopline/huawei",
    "OUTCOME_BUS_NAME": "outcomes",
}

EUROPEAN: Final = "eu-west-101"


def region_lists() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the list of regions of each of Huawei's packages that is installed, with the package's name."""
    packages = Path(huaweicloudsdkcore.__file__).parent.parent
    for path in sorted(packages.glob("huaweicloudsdk*/*/region/*_region.py")):
        module = importlib.import_module(".".join(path.relative_to(packages).with_suffix("").parts))
        for each in vars(module).values():
            if fields := getattr(each, "static_fields", None):
                yield path.relative_to(packages).parts[0], fields


OF_PACKAGE: Final = dict(region_lists())

OF_CORE: Final = {
    name: urls for name, urls in vars(sdk_endpoints).items() if name in {"__IAM_ENDPOINT_DICT", "__STS_ENDPOINT_DICT"}
}

OTHERS: Final = {EUROPEAN, "cn-north-219", "cn-southwest-2", "eu-west-0", "af-north-1", "sa-argentina-1"}
"""Of Huawei's endpoint pages and of its other packages."""

EVERY: Final = sorted(
    {region for fields in (*OF_PACKAGE.values(), *OF_CORE.values()) for region in fields} | OTHERS  # the keys
)


def settings(region: str, **changed: str) -> StopInWorkflowSettings:
    return read_settings(StopInWorkflowSettings, ENVIRONMENT | {"HUAWEICLOUD_REGION": region} | changed)


def taken_by_the_template(region: str) -> bool:
    return bool(re.fullmatch(written()["Parameters"]["HuaweiRegion"]["AllowedPattern"], region))


def test_the_lists_are_found() -> None:
    assert {"huaweicloudsdkiotda", "huaweicloudsdkcodeartscheck"} <= OF_PACKAGE.keys()
    assert len(OF_CORE) == 2
    assert len(EVERY) > 30


@pytest.mark.parametrize("region", EVERY)
def test_each_known_region_is_accepted_by_settings_and_template(region: str) -> None:
    assert settings(region).region == region
    assert taken_by_the_template(region)


@pytest.mark.parametrize(
    "region", ["cn-north", "cn-north-", "cn-north-1001", "north-4", "CN-north-4", "cn-north-4/x", "cn_north_4", "c-n-1"]
)
def test_what_is_no_region_is_refused_by_both(region: str) -> None:
    assert not taken_by_the_template(region)
    with pytest.raises(DeploymentFault, match="HUAWEICLOUD_REGION"):
        settings(region)


@pytest.mark.parametrize("region", EVERY)
def test_the_default_addresses_are_those_of_the_official_clients(region: str) -> None:
    read = settings(region)
    for package, address in (
        ("huaweicloudsdkiotda", read.iotda_endpoint),
        ("huaweicloudsdkcodeartscheck", read.check_endpoint),
    ):
        if region in OF_PACKAGE[package]:
            assert address in OF_PACKAGE[package][region].endpoints
    if sts := sdk_endpoints.get_sts_endpoint_by_id(region):
        assert read.sts_endpoint == sts


def test_the_european_site_has_its_own_domain_and_its_own_name_for_checks() -> None:
    """https://support.huaweicloud.com/eu/api-codecheck/codecheck_03_0003.html names the first.

    No page and no client names IoTDA or STS there: if they exist, then at that site's domain.
    """
    read = settings(EUROPEAN)
    assert read.check_endpoint == "https://check.eu-west-101.myhuaweicloud.eu"
    assert read.iotda_endpoint == "https://iotda.eu-west-101.myhuaweicloud.eu"
    assert read.sts_endpoint == "https://sts.eu-west-101.myhuaweicloud.eu"


@pytest.mark.parametrize("region", ["eu-west-0", "eu-west-10", "cn-north-101", "ap-southeast-3"])
def test_all_other_regions_are_at_the_common_domain(region: str) -> None:
    read = settings(region)
    for address in (read.check_endpoint, read.iotda_endpoint, read.sts_endpoint):
        assert address.endswith(f".{region}.myhuaweicloud.com")
    assert read.check_endpoint.startswith("https://codearts-check.")


GIVEN: Final = {
    "CodeArtsCheckEndpoint": ("CODEARTS_CHECK_ENDPOINT", "check_endpoint"),
    "IotdaEndpoint": ("IOTDA_ENDPOINT", "iotda_endpoint"),
    "HuaweiStsEndpoint": ("HUAWEICLOUD_SDK_STS_ENDPOINT", "sts_endpoint"),
}


@pytest.mark.parametrize("parameter", GIVEN)
def test_a_configured_address_goes_first_and_may_be_of_any_domain(parameter: str) -> None:
    address = "https://9bc34.st1.iotda-app.eu-west-101.myhuaweicloud.eu"
    variable, name = GIVEN[parameter]
    assert re.fullmatch(written()["Parameters"][parameter]["AllowedPattern"], address)
    assert getattr(settings(EUROPEAN, **{variable: address}), name) == address
