"""What cannot be booked is not sent; when the books can be kept again, requests go on (faults 82 and 85)."""

from __future__ import annotations

from collections.abc import Callable

from gateway_lab import Lab, deployment, small_config
from gateway_raw import ask, fetch
from gateway_router import Router

StartRouter = Callable[..., Router]


def test_f85_a_journal_at_its_bound_refuses_new_requests_until_it_is_taken_away(
    lab: Lab, start_router: StartRouter
) -> None:
    limits = {"journal_segment_bytes": 4096, "journal_bytes": 20_000}
    router = start_router(small_config(lab, {"a": deployment("openai", "m")}, {}, limits=limits))
    sent = 0
    while (answer := ask(router, "a")).status == 200:
        sent += 1
        assert sent < 400, "the bound never held"
    assert answer.status == 503
    assert (answer.error["code"], answer.error["origin"]) == ("ledger_unavailable", "router")
    assert int(answer.headers["retry-after"]) >= 1
    assert len(lab.served(answer.id)) == 0
    router.check_books()
    assert len(router.admitted_ids()) == sent
    assert fetch(router, "/livez").status == 200
    segments = sorted((router.data / "journal").glob("*.pmj"))
    for path in segments[:-1]:  # as the ledger pump does when it has stored them
        path.unlink()
    assert ask(router, "a").status == 200


def test_segments_rotate_and_together_hold_every_record(lab: Lab, start_router: StartRouter) -> None:
    limits = {"journal_segment_bytes": 2048}
    router = start_router(small_config(lab, {"a": deployment("openai", "m")}, {}, limits=limits))
    ids = {ask(router, "a", stream=bool(i % 2)).id for i in range(20)}
    router.check_books()
    assert router.admitted_ids() == ids
    assert len(list((router.data / "journal").glob("*.pmj"))) > 2
