"""UserSig, the ticket of a user of an application (SdkAppId): the vendor's TLSSigAPIv2.

The reference is the vendor's own `TLSSigAPIv2.py` (PyPI ``tls-sig-api-v2`` 1.1).
"""

import base64
import hashlib
import hmac
import json
import zlib

#: How long a ticket is good for if nobody says, in seconds; the vendor's own default.
EXPIRE = 180 * 86_400

#: Standard base64, but for three characters that stand for themselves in a URL.
_FOR_URLS = str.maketrans("+/=", "*-_")


def make(sdk_app_id: int, user_id: str, secret_key: str, *, at: int, expire: int = EXPIRE) -> str:
    """The ticket of a user. `at`: when it is made, in Unix seconds; `expire`: for how many seconds it is good."""
    signed = f"TLS.identifier:{user_id}\nTLS.sdkappid:{sdk_app_id}\nTLS.time:{at}\nTLS.expire:{expire}\n"
    signature = hmac.new(secret_key.encode(), signed.encode(), hashlib.sha256).digest()
    ticket = {
        "TLS.ver": "2.0",
        "TLS.identifier": user_id,
        "TLS.sdkappid": sdk_app_id,
        "TLS.expire": expire,
        "TLS.time": at,
        "TLS.sig": base64.b64encode(signature).decode(),
    }
    return base64.b64encode(zlib.compress(json.dumps(ticket).encode())).decode().translate(_FOR_URLS)
