"""On the same wire the bytes are the caller's: what routing does not change reaches the provider, and back, as it is."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gateway_capture import DONE, FINISH, REPLY, Capture, capture_config, chunk, stream_head, text_event, whole
from gateway_raw import AUTH, Response, Wire, chat_body, post
from gateway_router import Router

StartRouter = Callable[..., Router]


@pytest.fixture(scope="module")
def capture() -> Iterator[Capture]:
    with Capture() as running:
        yield running


@pytest.fixture(scope="module")
def near(capture: Capture, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """A router with one deployment, `cap`, at the capture server."""
    with Router(capture_config(capture), tmp_path_factory.mktemp("near")) as running:
        yield running
        running.check_quiet()


def tell(near: Router, body: bytes, *lines: str) -> Response:
    with Wire(near.port) as wire:
        wire.send(post(body, *lines))
        return wire.response()


HEAD = b'{"model":"cap","messages":[{"role":"user","content":"hi"}]'
EXACT = {
    "unknown members": HEAD + b',"x_new":{"b":[1,2],"a":null},"zz":"q"}',
    "number formats": HEAD + b',"temperature":0.10,"top_p":1e2,"seed":-0,"presence_penalty":1E-2,"big":12345678901234567890}',
    "spacing and order": b'{ "zeta" : 1 ,\n\t"messages":[ {"content":"hi","role":"user"} ] , "model" : "cap" , "alpha":2 }  ',
    "text beyond ascii": '{"model":"cap","messages":[{"role":"user","content":"Grüße 你好 🎉"}]}'.encode(),
    "escapes": b'{"model":"cap","messages":[{"role":"user","content":"a\\n\\/\\u20ac\\ud83c\\udf89\\"q\\""}]}',
    "duplicate other key": HEAD + b',"x":1,"x":2}',
    "stop list and nulls": HEAD + b',"stop":["\\n\\n","END"],"logit_bias":{"50256":-100},"tools":null}',
}  # fmt: skip


@pytest.mark.parametrize("body", EXACT.values(), ids=EXACT.keys())
def test_a_body_reaches_the_provider_byte_for_byte_but_for_the_model(
    near: Router, capture: Capture, body: bytes
) -> None:
    assert tell(near, body).status == 200
    expected = body.replace(b'"model":"cap"', b'"model":"up-1"').replace(b'"model" : "cap"', b'"model" : "up-1"')
    assert capture.body == expected


NAMED = {
    "nested": HEAD + b',"x":{"model":"inner"}}',
    "in a text": b'{"messages":[{"role":"user","content":"say \\"model\\": \\"cap\\" now"}],"model":"cap"}',
    "as a value": HEAD + b',"x":"model"}',
    "behind messages": b'{"messages":[{"role":"user","content":"hi","model":"m2"}],"model":"cap"}',
    "escaped text": b'{"model":"cap","messages":[{"role":"user","content":"\\u006dodel"}]}',
}


@pytest.mark.parametrize("body", NAMED.values(), ids=NAMED.keys())
def test_only_the_top_level_model_is_replaced(near: Router, capture: Capture, body: bytes) -> None:
    assert tell(near, body).status == 200
    assert json.loads(capture.body) == json.loads(body) | {"model": "up-1"}


def test_a_twice_named_model_leaves_as_one(near: Router, capture: Capture) -> None:
    answer = tell(near, b'{"model":"nobody","messages":[{"role":"user","content":"hi"}],"model":"cap"}')
    if answer.status == 200:  # the last of equal keys counts, as in every JSON reader
        assert json.loads(capture.body)["model"] == "up-1"
        assert b"nobody" not in capture.body and b'"cap"' not in capture.body
    else:
        assert answer.status in (400, 404)


def test_an_escaped_key_is_the_same_key(near: Router, capture: Capture) -> None:
    answer = tell(near, b'{"mod\\u0065l":"cap","messages":[{"role":"user","content":"hi"}]}')
    assert answer.status == 200
    pairs = json.loads(capture.body, object_pairs_hook=list)
    assert [value for key, value in pairs if key == "model"] == ["up-1"]


def test_an_escaped_model_value_is_read(near: Router, capture: Capture) -> None:
    assert tell(near, b'{"model":"c\\u0061p","messages":[{"role":"user","content":"hi"}]}').status == 200
    assert json.loads(capture.body)["model"] == "up-1"


def test_the_routers_own_member_stays_here_and_numbers_stay_as_written(near: Router, capture: Capture) -> None:
    assert tell(near, HEAD + b',"temperature":0.10,"pointsman":{"timeout_ms":9000},"x":1e2}').status == 200
    assert b"pointsman" not in capture.body
    assert b'"temperature":0.10' in capture.body and b'"x":1e2' in capture.body


STREAM = (
    stream_head()
    + chunk(b'data: {"id":"c","model":"up-1","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}\n\n')
    + b"".join(chunk(text_event(word)) for word in ("one ", "two ", "three"))
    + chunk(FINISH)
    + chunk(b'data: {"id":"c","model":"up-1","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n')
    + chunk(DONE)
    + b"0\r\n\r\n"
)  # fmt: skip
PLAIN = b"".join(text_event(word) for word in ("one ", "two ", "three"))


@pytest.fixture
def streaming(capture: Capture) -> Iterator[Capture]:
    before = capture.play
    capture.play = lambda sock, _: sock.sendall(STREAM)
    yield capture
    capture.play = before


@pytest.mark.parametrize(
    ("given", "sent", "shown"),
    [
        (None, {"include_usage": True}, False),
        ({}, {"include_usage": True}, False),
        ({"include_usage": False}, {"include_usage": True}, False),
        ({"include_usage": True}, {"include_usage": True}, True),
        ({"include_obfuscation": False}, {"include_obfuscation": False, "include_usage": True}, False),
        ({"include_usage": True, "other": [1]}, {"include_usage": True, "other": [1]}, True),
    ],
)
def test_usage_is_always_asked_for_and_shown_only_to_who_asked(
    near: Router, streaming: Capture, given: Any, sent: Any, shown: bool
) -> None:
    more = {} if given is None else {"stream_options": given}
    answer = tell(near, chat_body("cap", stream=True, **more))
    assert json.loads(streaming.body)["stream_options"] == sent
    assert json.loads(streaming.body)["stream"] is True
    assert (b'"usage"' in answer.body) is shown
    assert PLAIN in answer.body and answer.body.endswith(FINISH + DONE if not shown else DONE)
    (attempt,) = near.settled(answer.id).attempts
    assert (attempt.usage.input_tokens, attempt.usage.output_tokens, attempt.usage.source) == (7, 3, "measured")


def test_a_null_stream_options_counts_as_none(near: Router, streaming: Capture) -> None:
    assert tell(near, chat_body("cap", stream=True, stream_options=None)).status == 200
    assert json.loads(streaming.body)["stream_options"] == {"include_usage": True}


def test_a_body_of_stream_null_or_false_is_unary(near: Router, capture: Capture) -> None:
    for value in (None, False):
        answer = tell(near, chat_body("cap", stream=value))
        assert answer.body == REPLY
        assert "stream_options" not in json.loads(capture.body)


@pytest.mark.parametrize(
    "reply",
    [
        REPLY,
        b"\n " + REPLY.replace(b'"id"', b'"x_unknown" : [1e5, 0.10],"id"') + b"\n",
        REPLY.replace(b'"hi"', '"Grüße \\ud83c\\udf89 你好"'.encode()),
        REPLY.replace(b'"usage"', b'"system_fingerprint":null,"usage"'),
    ],
)
def test_a_unary_reply_is_relayed_byte_for_byte(near: Router, capture: Capture, reply: bytes) -> None:
    before = capture.play
    capture.play = lambda sock, _: sock.sendall(whole(reply))
    try:
        answer = tell(near, chat_body("cap"))
    finally:
        capture.play = before
    assert answer.body == reply
    assert near.settled(answer.id).attempts[0].usage.output_tokens == 1


def test_f48_a_stream_is_relayed_byte_for_byte_however_it_was_cut(near: Router, capture: Capture) -> None:
    words = ["Grü", "ße ", "你好 ", "🎉", ' \\"q\\" ', "done"]
    events = b"".join(text_event(word) for word in words) + FINISH + DONE
    for size in (1, 2, 3, 7, 64, len(events)):
        data = b"".join(chunk(events[at : at + size]) for at in range(0, len(events), size))

        def play(sock: socket.socket, _: bytes, data: bytes = data) -> None:
            sock.sendall(stream_head() + data + b"0\r\n\r\n")

        before, capture.play = capture.play, play
        try:
            answer = tell(near, chat_body("cap", stream=True))
        finally:
            capture.play = before
        assert answer.body == events, size


def test_the_providers_credential_replaces_the_callers(near: Router, capture: Capture) -> None:
    answer = tell(near, chat_body("cap"), "cookie: a=1", "x-forwarded-for: 10.0.0.1", "openai-organization: org-1")
    head = capture.head
    assert head["authorization"] == "Bearer sk-canary-capture"
    assert AUTH.split()[-1] not in capture.requests[-1][0].decode()
    assert not {"cookie", "x-forwarded-for", "openai-organization", "x-api-key"} & head.keys()  # I25: an allow-list
    assert head["x-request-id"] == answer.id
    assert head["content-type"] == "application/json" and head["accept-encoding"] == "identity"


def test_headers_that_belong_to_the_wire_pass(near: Router, capture: Capture) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    tell(near, chat_body("cap"), "OpenAI-Beta: assistants=v2", f"traceparent: {trace}")
    assert capture.head["openai-beta"] == "assistants=v2"
    assert "traceparent" not in capture.head  # whom the trace belongs to is told to nobody who is not named


def test_members_a_server_refuses_are_left_out_and_others_renamed(capture: Capture, start_router: StartRouter) -> None:
    config = capture_config(capture, rename={"max_completion_tokens": "max_tokens"}, drop=["seed"], stream_usage=False)
    router = start_router(config)
    body = chat_body("cap", max_completion_tokens=9, seed=1, x=[1])
    assert tell(router, body).status == 200
    sent = json.loads(capture.body)
    assert sent == {"model": "up-1", "messages": json.loads(body)["messages"], "max_tokens": 9, "x": [1]}
