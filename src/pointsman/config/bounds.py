"""Bounds: the `limits` section, every bound of the data plane with its default (FAULTS.md section 6) and its range."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pointsman.config.fields import Milliseconds, Section, Share, Whole, setting
from pointsman.core.policy import Limits as Defaults

_D = Defaults()

Bytes = Annotated[Whole, Field(ge=1024, le=64 * 1024**3)]
Count = Annotated[Whole, Field(ge=1, le=1_000_000)]
Memory = Annotated[Whole, Field(ge=0, le=1024**5)]


class Limits(Section):
    """Bounds of the data plane. Times are milliseconds, sizes bytes."""

    connect_ms: Milliseconds = setting("Connect and TLS handshake with a provider.", _D.connect_ms)
    ttft_ms: Milliseconds = setting("Wait for the first content of a streamed attempt.", _D.ttft_ms)
    ttft_reasoning_ms: Milliseconds = setting("The same, for models that think.", _D.ttft_reasoning_ms)
    whole_ms: Milliseconds = setting("Wait for an answer that comes in one piece.", _D.whole_ms)
    idle_ms: Milliseconds = setting("Wait between two pieces of a stream.", _D.idle_ms)
    total_ms: Milliseconds = setting("Deadline of a request whose client gave none.", _D.total_ms)
    write_stall_ms: Milliseconds = setting("Wait for a client that does not read.", _D.write_stall_ms)
    attempts: Annotated[Whole, Field(ge=1, le=5)] = setting("Most sends for one request.", _D.attempts)
    body_bytes: Bytes = setting("Largest request body.", _D.body_bytes)
    header_bytes: Bytes = setting("Largest request head.", _D.header_bytes)
    header_ms: Milliseconds = setting("Wait for a request head.", _D.header_ms)
    body_ms: Milliseconds = setting("Wait for more of a request body.", _D.body_ms)
    keepalive_ms: Milliseconds = setting("How long an idle client connection is kept.", _D.keepalive_ms)
    connections: Count = setting("Most client connections of a worker.", _D.connections)
    key_concurrency: Count = setting("Most requests of one key at a time, over all workers.", _D.key_concurrency)
    concurrent_requests: Count = setting("Most requests under way in a worker.", _D.concurrent_requests)
    waiting_requests: Count = setting("Most requests of a worker that wait for room in a quota.", _D.waiting_requests)
    memory_bytes: Memory = setting("Most memory of a worker. 0: what its control group allows.", _D.memory_bytes)
    stream_buffer_bytes: Bytes = setting("Most bytes held for one slow reader.", _D.stream_buffer_bytes)
    reply_bytes: Bytes = setting("Largest reply of a provider that is not a stream.", _D.reply_bytes)
    upstream_idle_per_host: Count = setting("Idle connections kept per host.", _D.upstream_idle_per_host)
    upstream_connections_per_host: Count = setting("Most connections per host.", _D.upstream_connections_per_host)
    upstream_max_age_ms: Milliseconds = setting("Oldest connection still used.", _D.upstream_max_age_ms)
    journal_segment_bytes: Bytes = setting("Size of a journal file.", _D.journal_segment_bytes)
    journal_bytes: Bytes = setting("Most journal on disk before requests are refused.", _D.journal_bytes)
    client_drain_ms: Milliseconds = setting(
        "How long the rest of a billed answer is read when its client has gone.", _D.client_drain_ms
    )
    stream_keepalive_ms: Annotated[Whole, Field(ge=0, le=3_600_000)] = setting(
        "Silence in a begun stream after which a comment is sent. 0: never.", _D.stream_keepalive_ms
    )
    retry_wait_ms: Annotated[Whole, Field(ge=0, le=120_000)] = setting(
        "Longest wait before a resend, Retry-After included. 0: none is made that must wait.", _D.retry_wait_ms
    )
    drain_ms: Milliseconds = setting("How long a stop waits for running requests.", _D.drain_ms)
    breaker_failures: Count = setting("Failures in a row that open the breaker.", _D.breaker_failures)
    breaker_unreachable: Count = setting("The same, when no connection is had.", _D.breaker_unreachable)
    breaker_success: Share = setting("Share of successes below which it opens.", _D.breaker_success)
    breaker_min_requests: Count = setting("Requests before that share counts.", _D.breaker_min_requests)
    breaker_open_ms: Milliseconds = setting("How long it stays open the first time.", _D.breaker_open_ms)
    breaker_open_max_ms: Milliseconds = setting("How long at most.", _D.breaker_open_max_ms)
    slow_start_ms: Annotated[Whole, Field(ge=0, le=3_600_000)] = setting(
        "How long its share grows from 10 % when it closes again. 0: it takes all at once.", _D.slow_start_ms
    )
    dns_ms: Milliseconds = setting("Wait for a look-up of a provider's name.", _D.dns_ms)
