"""A stream made of a reply, and a reply of a stream: the same answer, or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from wire_strategies import replies, streams

from pointsman.core.chat import Event, Reply, UsageReport
from pointsman.core.usage import Usage
from pointsman.dialects.forms import Form, remade
from pointsman.dialects.registry import DIALECTS

WIRE = DIALECTS["openai"]
USAGE = Usage(7, 5)


def told(body: bytes) -> tuple[tuple[object, ...], ...]:
    """Return what a JSON body says, without what a stream has no place for."""
    reply = WIRE.decode_reply(body)
    return tuple(
        (c.index, c.message.parts, c.finish, c.native_finish) for c in sorted(reply.choices, key=lambda c: c.index)
    )


@given(replies("openai"))
def test_a_reply_survives_the_way_to_a_stream_and_back(reply: Reply) -> None:
    whole = WIRE.encode_reply(reply)
    stream = remade(WIRE, whole, "whole", "stream_usage", USAGE)
    back = None if stream is None else remade(WIRE, stream, "stream_usage", "whole", USAGE)
    if back is not None:
        made, given = WIRE.decode_reply(back), WIRE.decode_reply(whole)
        assert (made.id, made.model, made.created_s, made.usage) == (given.id, given.model, given.created_s, USAGE)
        assert told(back) == told(whole)


@given(streams("openai"))
def test_a_stream_differs_from_itself_by_its_usage_only(events: list[Event]) -> None:
    stream = WIRE.stream_encoder(include_usage=True).encode(events)
    for wanted in ("stream", "stream_usage"):
        made = remade(WIRE, stream, "stream", wanted, USAGE)  # type: ignore[arg-type]
        assert made is not None and made.endswith(b"data: [DONE]\n\n")
        decoder = WIRE.stream_decoder()
        found = [*decoder.feed(made), *decoder.close()]
        assert [e for e in found if isinstance(e, UsageReport)] == (
            [UsageReport(USAGE)] if wanted == "stream_usage" else []
        )


@pytest.mark.parametrize(
    ("body", "form", "wanted"),
    [
        (b"{", "whole", "stream"),
        (b'{"choices":[]}', "whole", "stream"),
        (b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n', "stream", "whole"),  # without its end
        (b"data: [DONE]\n\n", "stream", "whole"),
    ],
)
def test_what_is_not_a_whole_answer_is_not_made_into_one(body: bytes, form: str, wanted: Form) -> None:
    made = remade(WIRE, body, form, wanted, USAGE)
    assert made is None or (wanted != "whole" and b"content" not in made)
