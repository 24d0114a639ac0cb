"""Whatever bytes come, the endpoint answers in its own words, and never that it failed."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from penstock.api.http import Head, Reply
from tests.endpoint import Endpoint

TEXT = st.text(st.characters(max_codepoint=255), max_size=60)
COMMON = ("Action", "Version", "Format", "AccessKeyId", "Signature", "SignatureNonce", "Timestamp", "DomainName")
VALUES = st.sampled_from(["", "2016-11-01", "DescribeLiveStreamPreloadTasks", "JSON", "xml", "2026-11-20T10:00:00Z"])
FORM = st.one_of(
    TEXT,
    st.lists(st.tuples(st.sampled_from(COMMON), VALUES | TEXT), max_size=9).map(
        lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
    ),
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            *("authorization", "accept", "content-type", "host", "x-acs-date", "x-acs-signature-nonce"),
            *("x-acs-action", "x-acs-version", "x-acs-content-sha256", "x-acs-security-token"),
        ]
    ),
    st.one_of(
        TEXT,
        VALUES,
        st.just("application/x-www-form-urlencoded"),
        TEXT.map(lambda text: f"ACS3-HMAC-SHA256 {text}"),
        st.just(
            "ACS3-HMAC-SHA256 Credential=a,SignedHeaders=host;x-acs-action;x-acs-version;x-acs-date;"
            f"x-acs-signature-nonce;x-acs-content-sha256,Signature={'0' * 64}"
        ),
    ),
)


@given(method=st.sampled_from(["GET", "POST", "PUT"]), query=FORM, headers=HEADERS, body=st.binary(max_size=80))
def test_any_request_is_answered(
    endpoint: Endpoint, method: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    async def read(_: int) -> bytes:
        return body

    async def answered() -> Reply:
        head = Head(method=method, query=query, headers=headers)
        await endpoint.aliyun.recognises(head, read)
        return await endpoint.aliyun.answer(head, read)

    reply = asyncio.run(answered())
    assert 400 <= reply.status < 500, reply.body
    assert reply.code.encode() in reply.body
