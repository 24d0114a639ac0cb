"""UserSig is the vendor's, byte for byte where bytes are said."""

import base64
import json
import zlib
from typing import Any

import pytest

from penstock.tasks import usersig

#: Example application and key of the vendor's TLSSigAPIv2.py 1.1.
APP, KEY = 1400000000, "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"
#: What that program printed for the user `xiaojun` at 1769853600.
OFFICIAL = (
    "eJyrVgrxCdYrSy1SslJQMtIzUNJRAItkpqTmlWSmZUIkKjIT87NK82CSxSnZiQUFmSlAKUMTAyiAyqVWFGQWpYJkTE1NjRDiJZm5YFFzM0sLU2Mz"
    "uHhxZjrIhqyMyFzzEG2ngjKLlGTLYA8-S-2ywqzydE*DrAinFOOUQMvEonR3y5yyqEhbpVoAJGYzyA__"
)


def opened(ticket: str) -> dict[str, Any]:
    """What stands in a ticket."""
    packed = base64.b64decode(ticket.replace("*", "+").replace("-", "/").replace("_", "="), validate=True)
    found: dict[str, Any] = json.loads(zlib.decompress(packed))
    return found


def test_ticket_is_what_the_official_program_makes() -> None:
    # Opened, since two builds of zlib may pack the same words differently.
    assert opened(usersig.make(APP, "xiaojun", KEY, at=1_769_853_600)) == opened(OFFICIAL)


def test_ticket_says_who_where_since_when_and_for_how_long() -> None:
    ticket = opened(usersig.make(7, "ann", KEY, at=1000, expire=60))
    assert ticket.pop("TLS.sig")
    assert ticket == {
        "TLS.ver": "2.0",
        "TLS.identifier": "ann",
        "TLS.sdkappid": 7,
        "TLS.expire": 60,
        "TLS.time": 1000,
    }


@pytest.mark.parametrize(
    "changed",
    [{"sdk_app_id": 8}, {"user_id": "bob"}, {"secret_key": "other"}, {"at": 1001}, {"expire": 61}],
    ids=lambda changed: next(iter(changed)),
)
def test_signature_covers_everything(changed: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"sdk_app_id": 7, "user_id": "ann", "secret_key": KEY, "at": 1000, "expire": 60}
    signatures = [opened(usersig.make(**values))["TLS.sig"] for values in (asked, asked | changed)]
    assert signatures[0] != signatures[1]


def test_ticket_needs_no_quoting_in_a_url() -> None:
    tickets = "".join(usersig.make(7, str(number), KEY, at=1000) for number in range(50))
    assert not set(tickets) & set("+/=")
    assert {"*", "-", "_"} <= set(tickets)
