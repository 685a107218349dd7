"""What a refused or failed caller is told: enough to act on, nothing of the operator's account, in the form they asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from gateway_capture import Capture, capture_config, whole
from gateway_raw import Wire, ask, chat_body, get, post
from gateway_router import Router

StartRouter = Callable[..., Router]


@pytest.fixture
def upstream() -> Iterator[Capture]:
    with Capture() as running:
        yield running


@pytest.mark.parametrize("path", ["/metrics", "/health", "/v1/models", "/nowhere", "/v1/models/none"])
def test_an_answer_to_head_has_no_body_and_the_connection_goes_on(router: Router, path: str) -> None:
    with Wire(router.port) as wire:
        wire.send(get(path, method="HEAD") + get("/livez"))
        first = wire.response(bodyless=True)
        assert int(first.headers["content-length"]) > 0
        assert wire.response().json == {"status": "alive"}


def test_a_refusal_echoes_the_clients_request_id(router: Router) -> None:
    for body, auth in ((b"{", None), (chat_body("openai-m"), "authorization: Bearer sk-unknown-0123456789")):
        with Wire(router.port) as wire:
            wire.send(post(body, "x-request-id: mine-1", **({} if auth is None else {"auth": auth})))
            answer = wire.response()
        assert answer.status in (400, 401)
        assert answer.headers["x-request-id"] == "mine-1"
        assert answer.error["request_id"].startswith("req_")


@pytest.mark.parametrize(
    ("status", "code"),
    [("401 Unauthorized", "provider_credentials_refused"), ("402 Payment Required", "provider_quota_exhausted")],
)
def test_i24_words_about_the_operators_account_reach_no_client_and_its_key_no_row(
    upstream: Capture, start_router: StartRouter, status: str, code: str
) -> None:
    config = capture_config(upstream, api_key="sk-canary-0123456789")
    said = b'{"error":{"message":"key sk-canary-0123456789 of account acme is refused","type":"x","code":null}}'
    upstream.play = Capture._always(whole(said, status=status))
    router = start_router(config)
    answer = ask(router, "cap", pointsman={"attempts": 1})
    assert (answer.status, answer.error["code"]) == (503, code)
    assert b"canary" not in answer.body and b"acme" not in answer.body
    assert answer.headers["x-should-retry"] == "false"  # another try meets the same account
    message = router.settled(answer.id).attempts[0].message
    assert "canary" not in message and "acme" in message


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("host: localhost:8080",), 200),
        (("host: 127.0.0.1",), 200),
        (("host: [::1]:8080",), 200),
        (("host: evil.example",), 403),  # a name rebound to this machine
        (("host: localhost", "origin: https://evil.example"), 403),  # a page that sends to this machine
        (("host: localhost", "origin: null"), 403),
        (("host: localhost", "origin: http://localhost:3000"), 200),
    ],
)
def test_s06_without_keys_a_web_page_is_not_served(
    upstream: Capture, start_router: StartRouter, lines: tuple[str, ...], status: int
) -> None:
    reply = b'{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant",'
    reply += b'"content":"x"},'
    reply += b'"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
    upstream.play = Capture._always(whole(reply))
    router = start_router(capture_config(upstream), keys=False)
    body = chat_body("cap")
    head = "\r\n".join(("POST /v1/chat/completions HTTP/1.1", *lines, f"content-length: {len(body)}"))
    with Wire(router.port) as wire:
        wire.send(f"{head}\r\n\r\n".encode() + body)
        answer = wire.response()
    assert answer.status == status
    if status == 403:
        assert answer.error["code"] == "not_local"


def test_a_listener_opened_on_purpose_without_keys_serves_other_names(
    upstream: Capture, start_router: StartRouter
) -> None:
    config = capture_config(upstream) | {"server": {"host": "0.0.0.0", "allow_unauthenticated": True}}
    router = start_router(config, keys=False)
    with Wire(router.port) as wire:
        wire.send(b"GET /v1/models HTTP/1.1\r\nhost: router.internal\r\n\r\n")
        assert wire.response().status == 200
