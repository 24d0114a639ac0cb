"""Runs in the environment of the mainland's SDK: makes the calls that stdin lists, prints what each gave.

Both SDKs install into the package ``tencentcloud``, so this one cannot be imported by the tests.
"""

import json
import sys
from typing import Any

from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.live.v20180801 import models
from tencentcloud.live.v20180801.live_client import LiveClient


def main() -> None:
    job = json.load(sys.stdin)
    profile = ClientProfile(httpProfile=HttpProfile(endpoint=job["endpoint"], protocol="http"))
    key = credential.Credential(job["secret_id"], job["secret_key"])
    client = LiveClient(key, "ap-guangzhou", profile)
    json.dump([call(client, action, parameters) for action, parameters in job["calls"]], sys.stdout)


def call(client: LiveClient, action: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The answer as the SDK's model read it, or the error."""
    request = getattr(models, f"{action}Request")()
    request.from_json_string(json.dumps(parameters))
    try:
        answer: dict[str, Any] = json.loads(getattr(client, action)(request).to_json_string())
    except TencentCloudSDKException as error:
        return {"Code": error.get_code(), "Message": error.get_message()}
    return answer


main()
