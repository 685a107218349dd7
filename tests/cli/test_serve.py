"""`pointsman serve` with real processes: it serves, it survives the death of each of its parts, it ends in order."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from serving import Serving, Upstream, environment, until

from pace import slowness
from pointsman.cli.child import Child
from pointsman.observe.metrics import METRICS

Start = Callable[..., Serving]
WORKER, CONTROL = "pointsman.gateway.worker", "pointsman.control.main"
KILLS = int(os.environ.get("KILLS", "4"))  # of each process under load; KILLS=20 for a campaign


def command(*arguments: str | Path, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "pointsman.cli", *[str(argument) for argument in arguments]]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, cwd=cwd, env=env or environment())


def test_what_is_served_is_booked_and_can_be_read(serve: Start, upstream: Upstream, tmp_path: Path) -> None:
    router = serve("--workers", "2")
    for n in range(6):
        status, body, _ = router.chat("main", f"mine-{n}", stream=n % 2 == 1)
        assert status == 200 and b"hello" in body
    status, _, headers = router.chat("rocky", "rocky-1")
    assert status == 200 and headers["x-pointsman-deployment"] == "fast"
    rows = router.rows(7)
    assert upstream.served == sum(row["attempts"] for row in rows) == 8
    assert {row["charge_nano"] for row in rows} == {200_000} and {row["charge_state"] for row in rows} == {"measured"}

    usage = json.loads(command("usage", "--json", "--data", router.data, cwd=tmp_path).stdout)
    assert usage["total"]["requests"] == 7 and usage["total"]["measured_nano"] == 1_400_000
    assert usage["total"]["failovers"] == 1 and {group["route"] for group in usage["groups"]} == {"main", "rocky"}

    told = json.loads(command("explain", "rocky-1", "--json", "--data", router.data, cwd=tmp_path).stdout)
    assert [attempt["outcome"] for attempt in told["attempts"]] == ["server_error", "ok"]
    assert [candidate["deployment"] for candidate in told["candidates"]] == ["broken", "fast"]
    by_prefix = command("explain", told["id"][:-3], "--json", "--data", router.data, cwd=tmp_path)
    assert json.loads(by_prefix.stdout)["id"] == told["id"]

    lines = command("tail", "--json", "--no-follow", "--data", router.data, cwd=tmp_path).stdout.splitlines()
    assert [json.loads(line)["client_id"] for line in lines][-1] == "rocky-1" and len(lines) == 7

    status, page = router.ask("/requests", admin=True)
    assert status == 200 and told["id"].encode() in page
    assert router.ask(f"/v1/decisions/{told['id']}", admin=True)[0] == 200
    status, metrics = router.ask("/metrics", admin=True)
    assert b"pointsman_ledger_rows_total 7" in metrics and all(name.encode() in metrics for name in METRICS)

    assert router.stop() == 0
    assert not list((router.data / "journal").iterdir())
    assert "canary" not in router.said + page.decode() + str(rows)
    assert b"canary" not in (router.data / "ledger.sqlite").read_bytes()


def test_the_report_says_what_is_served_where_and_to_whom(serve: Start) -> None:
    router = serve()
    for expected in (
        "is ready (",
        "main (priority, 1)",
        "loopback only, no key needed",
        str(router.data),
        "router.yaml",
    ):
        assert expected in router.said
    assert router.stop(signal.SIGINT) == 0


def test_f95_sigterm_lets_what_runs_finish_and_books_it(serve: Start, upstream: Upstream) -> None:
    router = serve()
    answers: list[tuple[int, bytes, dict[str, str]]] = []
    threads = [threading.Thread(target=lambda: answers.append(router.chat("slow"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: upstream.served == 3, 5)
    assert router.stop() == 0
    for thread in threads:
        thread.join()
    assert [status for status, _, _ in answers] == [200, 200, 200]
    assert [row["outcome"] for row in router.rows(3)] == ["ok"] * 3


def test_a_second_signal_ends_at_once_and_the_next_start_books_the_rest(serve: Start, upstream: Upstream) -> None:
    upstream.slow_s = 10.0
    router = serve()
    thread = threading.Thread(target=lambda: _quietly(lambda: router.chat("slow")))
    thread.start()
    until(lambda: upstream.served == 1, 5)
    router.process.send_signal(signal.SIGINT)
    until(lambda: "draining" in router.said, 5)
    assert router.stop(signal.SIGINT, within_s=3) == 128 + signal.SIGINT
    thread.join()
    again = serve()
    [row] = again.rows(1)
    assert (row["outcome"], row["recovered"], row["charge_state"], row["planned"]) == (
        "recovered",
        1,
        "estimated",
        "slow",
    )
    assert row["charge_nano"] == row["hold_nano"] > 0
    assert again.stop() == 0


def _quietly(work: Callable[[], object]) -> None:
    with contextlib.suppress(OSError):
        work()


def test_f94_a_killed_worker_is_back_within_a_second_and_its_requests_are_recovered(
    serve: Start, upstream: Upstream
) -> None:
    upstream.slow_s = 10.0
    router = serve()
    [worker] = router.children(WORKER)
    thread = threading.Thread(target=lambda: _quietly(lambda: router.chat("slow", "cut")))
    thread.start()
    until(lambda: upstream.served == 1, 5)
    os.kill(worker, signal.SIGKILL)

    def answers() -> bool:
        try:
            return router.ask("/livez", timeout_s=1)[0] == 200
        except OSError:
            return False

    took_s = until(answers, 5)
    assert took_s <= 1.0, took_s
    thread.join()
    assert router.children(WORKER) != [worker]
    assert router.chat("main")[0] == 200
    assert {row["client_id"]: row["outcome"] for row in router.rows(2)} == {"cut": "recovered", "": "ok"}
    assert "worker 1 died (signal SIGKILL)" in router.said
    assert router.stop() == 0


def test_i01_i02_killing_the_control_process_under_load_loses_and_doubles_nothing(serve: Start) -> None:
    router = serve("--workers", "2")
    sent: list[str] = []
    stop = threading.Event()

    def load(name: int) -> None:
        n = 0
        while not stop.is_set():
            assert router.chat("main", f"{name}-{n}")[0] == 200
            sent.append(f"{name}-{n}")
            n += 1

    threads = [threading.Thread(target=load, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(KILLS):
        until(lambda: len(router.children(CONTROL)) == 1, 8)
        time.sleep(0.4)
        os.kill(router.children(CONTROL)[0], signal.SIGKILL)
        until(lambda: not router.children(CONTROL), 2)
    stop.set()
    for thread in threads:
        thread.join()
    assert router.stop() == 0
    rows = router.rows(len(sent))
    assert len(sent) > 50 and sorted(row["client_id"] for row in rows) == sorted(sent)
    assert {row["outcome"] for row in rows} == {"ok"}


def test_i01_killing_workers_under_load_gives_every_admission_one_row(serve: Start, upstream: Upstream) -> None:
    router = serve()
    answered: list[str] = []
    stop = threading.Event()

    def load(name: int) -> None:
        n = 0
        while not stop.is_set():
            try:
                assert router.chat("main", f"{name}-{n}")[0] == 200
                answered.append(f"{name}-{n}")
            except OSError:
                time.sleep(0.02)
            n += 1

    threads = [threading.Thread(target=load, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(KILLS):
        until(lambda: len(router.children(WORKER)) == 1, 8)
        time.sleep(0.5)
        os.kill(router.children(WORKER)[0], signal.SIGKILL)
        until(lambda: not router.children(WORKER), 2)
    stop.set()
    for thread in threads:
        thread.join()
    assert router.stop() == 0
    ids = [row["client_id"] for row in router.rows(_count(router))]
    assert len(ids) == len(set(ids)) and set(answered) <= set(ids)
    assert upstream.served <= len(ids)  # nothing was sent that is not booked


def _count(router: Serving) -> int:
    import sqlite3

    return int(sqlite3.connect(router.data / "ledger.sqlite").execute("SELECT COUNT(*) FROM requests").fetchone()[0])


def test_when_the_supervisor_is_killed_its_children_end_by_themselves(serve: Start) -> None:
    router = serve("--workers", "2")
    assert router.chat("main")[0] == 200
    pids = router.children(WORKER) + router.children(CONTROL)
    assert len(pids) == 3
    router.process.kill()
    router.process.wait()
    until(lambda: not any(_runs(pid) for pid in pids), 5)
    assert [row["outcome"] for row in router.rows(1)] == ["ok"]


def _runs(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_a_second_router_on_the_same_data_waits_to_book(serve: Start, tmp_path: Path) -> None:
    first, second = serve(), serve()
    until(lambda: "waiting for it to end" in second.said, 5)
    assert second.chat("main")[0] == 200
    first.rows(1)  # whoever holds the lock books for both
    assert first.stop() == 0
    assert second.chat("main")[0] == 200
    second.rows(2)
    assert second.stop() == 0


@pytest.mark.parametrize("option", ["--port", "--admin-port"])
def test_a_port_in_use_is_said_clearly(serve: Start, tmp_path: Path, upstream: Upstream, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        (tmp_path / "router.yaml").write_text(upstream.config())
        other = "--admin-port" if option == "--port" else "--port"
        result = command("serve", "router.yaml", option, port, other, "0", cwd=tmp_path)
    assert result.returncode == 1
    assert re.search(rf"cannot listen on 127\.0\.0\.1:{port}: .*in use.* Choose another with {option}", result.stderr)
    assert "Traceback" not in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_faulty_config_ends_with_the_exit_codes_of_check(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("deployments: {a: {provider: opnai}}\n")
    invalid = command("serve", "bad.yaml", cwd=tmp_path)
    assert invalid.returncode == 1 and invalid.stderr.startswith("bad.yaml:1:29: deployments.a.provider")
    missing = command("serve", "none.yaml", cwd=tmp_path)
    assert missing.returncode == 2 and "none.yaml" in missing.stderr
    nothing = command("serve", cwd=tmp_path)
    assert nothing.returncode == 1 and "export OPENAI_API_KEY=" in nothing.stderr
    assert not any("Traceback" in result.stderr for result in (invalid, missing, nothing))


def test_a_data_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = command("serve", "--data", "file/data", cwd=tmp_path)
    assert result.returncode == 2 and "the data folder file/data cannot be used" in result.stderr


def test_without_a_config_the_keys_of_the_environment_decide(tmp_path: Path) -> None:
    router = Serving(tmp_path, env=environment(OPENAI_API_KEY="sk-none-canary-0123456789"))
    try:
        assert "by the keys found of openai" in router.said and "auto (cheapest" in router.said
        assert "canary" not in router.said
        status, models = router.ask("/v1/models")
        assert status == 200 and b'"auto"' in models
        assert router.stop() == 0
    finally:
        router.kill()


def test_s06_an_admin_listener_for_all_needs_a_token(serve: Start, tmp_path: Path, upstream: Upstream) -> None:
    (tmp_path / "router.yaml").write_text(upstream.config())
    arguments = ("serve", "router.yaml", "--port", "0", "--admin-port", "0", "--admin-host", "0.0.0.0")
    result = command(*arguments, cwd=tmp_path)
    assert result.returncode == 1 and "set POINTSMAN_ADMIN_TOKEN" in result.stderr
    short = command(*arguments, cwd=tmp_path, env=environment(POINTSMAN_ADMIN_TOKEN="short"))
    assert short.returncode == 1 and "shorter than 16" in short.stderr


def test_a_policy_larger_than_a_pipe_reaches_every_process(serve: Start, tmp_path: Path, upstream: Upstream) -> None:
    more = "".join(
        f"  extra-{n:04}: {{provider: up, model: fast-1, price: {{input: 1, output: 1}}, context: 8000}}\n"
        for n in range(700)
    )
    config = tmp_path / "large.yaml"
    config.write_text(upstream.config().replace("deployments:\n", f"deployments:\n{more}"))
    router = Serving(tmp_path, str(config), "--workers", "2")
    try:
        assert router.chat("extra-0699")[0] == 200
        os.kill(router.children(WORKER)[0], signal.SIGKILL)
        until(lambda: len(router.children(WORKER)) == 2, 3)
        router.rows(1)
        assert router.stop() == 0
    finally:
        router.kill()


def test_who_dies_young_is_started_again_later_and_later() -> None:
    child = Child("a child", "pointsman.no_such_module")
    delays = []
    for _ in range(8):
        child.start()
        until(lambda: child.is_over, 5)
        assert child.bury() == "exit code 1"
        delays.append(child.delay_s)
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


@pytest.mark.serial
def test_it_is_ready_within_a_second(serve: Start) -> None:
    """Without the time for which this machine let its processes wait for a processor: the control process waits longest."""
    found_s: list[float] = []
    while not found_s or min(found_s) > slowness():
        assert len(found_s) < 3, f"ready after {found_s} s"
        router = serve()
        children = [max(map(starved_s, router.children(module))) for module in (CONTROL, WORKER)]
        took_s = float(re.findall(r"is ready \((\d+\.\d+) s\)", router.said)[0])
        found_s.append(took_s - starved_s(router.process.pid) - max(children))
        assert router.stop() == 0


def starved_s(pid: int) -> float:
    """Return how long a process has been ready to run, and had no processor."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def test_s06_an_address_in_a_header_gives_no_further_tries(serve: Start) -> None:
    router = serve()
    found = [
        router.ask("/v1/usage", admin=True, authorization="Bearer wrong", **{"x-forwarded-for": f"10.0.0.{n}"})[0]
        for n in range(12)
    ]
    assert found[0] == 401 and found[-1] == 429


def test_the_supervisor_loads_nothing_heavy() -> None:
    check = (
        "import sys; import pointsman.cli.supervisor\n"
        "print([m for m in ('typer', 'pydantic', 'yaml', 'msgspec', 'asyncio', 'starlette', 'rich') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
