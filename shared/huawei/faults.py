"""The error table: what Huawei's error answers mean for a target. Data, with a source beside each row.

Published tables are incomplete (the 0142xx codes of batch tasks, the codes of a refused check stop), so what is not
listed is `UNCLEAR`: the state is read back and decides. Sources, as they are named in the rows:

- *Check*: https://support.huaweicloud.com/intl/en-us/api-codecheck/ErrorCode.html
- *Stop a check*: "Stopping a Check Task", https://support.huaweicloud.com/intl/en-us/api-codecheck/
- *IoTDA*: https://support.huaweicloud.com/intl/en-us/api-iothub/ErrorCode.html
- *Stop a batch*: "Stop a Batch Task", https://support.huaweicloud.com/intl/en-us/api-iothub/
- *Gateway*: https://support.huaweicloud.com/intl/en-us/devg-apisign/api-sign-errorcode.html
- *Show a batch*: "Query Details About a Batch Task"; the 404 by terraform-provider-huaweicloud's reading of it
"""

from __future__ import annotations

import re
from enum import Enum, auto
from http import HTTPStatus
from typing import Final, NamedTuple


class Fault(Enum):
    """What an error answer means."""

    PASSING = auto()
    """Try again later."""
    THROTTLED = auto()
    """Try again later, and ask less often."""
    REFUSED = auto()
    """Huawei knows the work and says no, and will say no again."""
    NOT_FOUND = auto()
    """Huawei does not know the work."""
    CREDENTIALS = auto()
    """The deployment's credentials are not accepted; fresh ones may be, once."""
    DEPLOYMENT = auto()
    """The deployment is wrong: its host, its account, its network."""
    CONFLICT = auto()
    """Another request changes the work now: read the state, and try again what still runs."""
    UNCLEAR = auto()
    """Not in the table: read the state back."""


class Row(NamedTuple):
    """One published error: `code` as a whole, or for the gateway the number behind `APIGW.`, `APIG.` or `APIC.`.

    `of_target`: it is about one target, so it counts only in an answer's list of targets. `fix`: how to fix a fault of
    the deployment.
    """

    code: str
    fault: Fault
    meaning: str
    source: str
    of_target: bool = False
    fix: str = ""


_ENDPOINT: Final = "check the endpoint and the region"
_PERMISSION: Final = "allow this API to the IAM user or agency of the key"
_ADDRESS: Final = "allow the address that the function calls from"
_REGION: Final = "check that the service is open to the account in this region"

TABLE: Final = (
    # --- API gateway: the prefix differs by region, the number does not
    Row(".0101", Fault.DEPLOYMENT, "the API does not exist at this host", "Gateway", fix=_ENDPOINT),
    Row(".0103", Fault.DEPLOYMENT, "no back end at this host", "Gateway", fix=_ENDPOINT),
    Row(".0104", Fault.DEPLOYMENT, "the plug-in's configuration is missing", "Gateway", fix=_ENDPOINT),
    Row(".0105", Fault.DEPLOYMENT, "the back end's configuration is missing", "Gateway", fix=_ENDPOINT),
    Row(".0106", Fault.DEPLOYMENT, "orchestration error", "Gateway", fix=_ENDPOINT),
    Row(".0107", Fault.PASSING, "error in the gateway's own script", "Gateway"),
    Row(".0108", Fault.DEPLOYMENT, "the server group does not exist", "Gateway", fix=_ENDPOINT),
    Row(".0201", Fault.REFUSED, "the request is too large or malformed", "Gateway"),
    Row(".0202", Fault.PASSING, "back end unavailable", "Gateway"),
    Row(".0203", Fault.PASSING, "back end time-out", "Gateway"),
    Row(".0204", Fault.DEPLOYMENT, "this version of TLS is not supported", "Gateway", fix=_ENDPOINT),
    Row(".0301", Fault.CREDENTIALS, "incorrect IAM authentication", "Gateway"),
    Row(".0302", Fault.DEPLOYMENT, "the IAM user may not access the API", "Gateway", fix=_PERMISSION),
    Row(".0303", Fault.CREDENTIALS, "incorrect app authentication", "Gateway"),
    Row(".0304", Fault.DEPLOYMENT, "the app may not access the API", "Gateway", fix=_PERMISSION),
    Row(".0305", Fault.CREDENTIALS, "incorrect authentication", "Gateway"),
    Row(".0306", Fault.DEPLOYMENT, "access to the API is denied", "Gateway", fix=_PERMISSION),
    Row(".0307", Fault.CREDENTIALS, "the token must be updated", "Gateway"),
    Row(".0308", Fault.THROTTLED, "the throttling threshold has been reached", "Gateway"),
    Row(
        ".0310",
        Fault.DEPLOYMENT,
        "the project is unavailable",
        "Gateway",
        fix="check that the project exists and is not frozen",
    ),
    Row(".0401", Fault.DEPLOYMENT, "this IP address is not allowed", "Gateway", fix=_ADDRESS),
    Row(".0402", Fault.DEPLOYMENT, "this IP address is not allowed", "Gateway", fix=_ADDRESS),
    Row(
        ".0502",
        Fault.DEPLOYMENT,
        "the account is frozen",
        "Gateway",
        fix="top up the account's balance, or unfreeze it",
    ),
    Row(".0705", Fault.PASSING, "signing toward the back end failed", "Gateway"),
    Row(".0801", Fault.DEPLOYMENT, "forbidden in this region", "Gateway", fix=_REGION),
    Row(".0802", Fault.DEPLOYMENT, "forbidden in this region", "Gateway", fix=_REGION),
    # --- CodeArts Check
    Row("CC.00000000", Fault.PASSING, "network busy, try again later", "Check"),
    Row("CC.00000003", Fault.CREDENTIALS, "authentication information expired", "Stop a check"),
    Row("CC.00050001", Fault.PASSING, "the query of the task list failed", "Check"),
    Row("CC.00050002", Fault.PASSING, "the query of the task's detail failed", "Check"),
    Row("CC.00050003", Fault.PASSING, "the query of the templates failed", "Check"),
    Row("CC.00050004", Fault.PASSING, "the query of the task's history failed", "Check"),
    Row("CC.00050006", Fault.PASSING, "service inner error", "Check"),
    Row(
        "CC.00050007",
        Fault.DEPLOYMENT,
        "IAM authentication failed",
        "Check",
        fix="check the key, and that its IAM user may use CodeArts Check",
    ),
    # Permission is judged task by task, so this is one task's refusal and not the deployment's fault.
    Row("CC.00050010", Fault.REFUSED, "the current user does not have permission", "Check"),
    Row(
        "CC.00050011",
        Fault.DEPLOYMENT,
        "the user is not in any project",
        "Check",
        fix="add the IAM user of the key to the CodeArts project",
    ),
    Row("CC.00050012", Fault.THROTTLED, "network busy, retry later", "Check"),
    # Perhaps what an unknown task gives; whatever its status, the read decides.
    Row("CC.00050014", Fault.UNCLEAR, "getTaskBasicInfo failed", "Check"),
    # --- IoTDA
    Row("IOTDA.000001", Fault.PASSING, "internal error", "IoTDA"),
    # Also what a dedicated instance says to a plain signature.
    Row("IOTDA.000002", Fault.CREDENTIALS, "authentication failed", "IoTDA"),
    Row("IOTDA.000004", Fault.CREDENTIALS, "invalid access token", "IoTDA"),
    Row("IOTDA.000020", Fault.PASSING, "decrypting the IAM token failed", "IoTDA"),
    # Also what the region's host says when only a dedicated instance exists.
    Row(
        "IOTDA.000021",
        Fault.DEPLOYMENT,
        "user not found, or IoTDA not subscribed at this host",
        "IoTDA",
        fix="check IOTDA_ENDPOINT (an instance has an address of its own), the project and the instance",
    ),
    Row("IOTDA.014219", Fault.NOT_FOUND, "the target is not in the task", "Stop a batch", of_target=True),
    Row("IOTDA.021101", Fault.THROTTLED, "the request rate has reached its limit", "IoTDA"),
    Row("IOTDA.021102", Fault.THROTTLED, "the request rate of the tenant has reached its limit", "IoTDA"),
)

_BY_CODE: Final = {row.code: row for row in TABLE}
_BY_STATUS: Final[dict[int, Fault]] = {
    HTTPStatus.UNAUTHORIZED: Fault.CREDENTIALS,
    HTTPStatus.REQUEST_TIMEOUT: Fault.PASSING,
    # "Being changed by another request": https://www.rfc-editor.org/rfc/rfc9110#section-15.5.10, and RFC 4918, 11.3.
    HTTPStatus.CONFLICT: Fault.CONFLICT,
    HTTPStatus.LOCKED: Fault.CONFLICT,
    HTTPStatus.TOO_EARLY: Fault.PASSING,
    HTTPStatus.TOO_MANY_REQUESTS: Fault.THROTTLED,
}
_GATEWAY: Final = re.compile(r"^API(?:GW|G|C)(\.\d{4})$")
# Some CodeArts answers carry the HTTP status behind the code: CC.00000000.400 ("Stopping a Check Task").
_CHECK: Final = re.compile(r"^(CC\.\d{8})\.(\d{3})$")


def fault_of(status: int, code: str | None) -> Fault:
    """Return what an error answer as a whole means, by its HTTP status and its error code.

    The status decides first: the gateway uses one code for several statuses (`.0201` is a malformed request as 400 and
    a time-out of the back end as 504), so a status of 500 and above is transient whatever the code, and 429 is a
    throttle. Below, the code decides before the status: IoTDA throttles with 403, and CodeArts sends errors as 200.
    """
    row, status = _row_of(status, code)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Fault.THROTTLED if row is not None and row.fault is Fault.THROTTLED else Fault.PASSING
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Fault.THROTTLED
    if row is not None and not row.of_target:
        return row.fault
    if status == HTTPStatus.NOT_FOUND and code is not None and code.startswith("IOTDA."):
        return Fault.NOT_FOUND  # "Show a batch"; any other 404 may be a wrong host
    return _BY_STATUS.get(status, Fault.UNCLEAR)


def fault_of_target(code: str) -> Fault:
    """Return what an error code means that stands beside one target in an answer's list."""
    row, status = _row_of(HTTPStatus.OK, code)
    if row is not None and row.of_target:
        return row.fault
    return fault_of(status, code)


def fix_of(code: str | None) -> str:
    """Return how to fix a fault of the deployment by its code; `""` if the table does not say."""
    row, _ = _row_of(HTTPStatus.OK, code)
    return row.fix if row is not None else ""


def _row_of(status: int, code: str | None) -> tuple[Row | None, int]:
    """Return the row of a code, and the status, which a code of CodeArts may carry too: the worse of the two counts."""
    if code is None:
        return None, status
    if gateway := _GATEWAY.match(code):
        return _BY_CODE.get(gateway[1]), status
    if check := _CHECK.match(code):
        return _BY_CODE.get(check[1]), max(status, int(check[2]))
    return _BY_CODE.get(code), status
