"""The demo: mock providers, the router, real clients, an outage, the bill. Run by `make demo`.

    python -m pointsman.lab.demo [--folder .demo] [--config examples/demo.yaml] [--providers examples/demo-providers.yaml]

Ends with everything running until Ctrl-C; with CI=true it stops all and exits. Exit status 1: a client saw an error, no
request failed over, or the bill is not what the providers served.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import yaml
from rich.console import Console
from rich.markup import escape

from pointsman.lab import demo_bill, demo_report
from pointsman.lab.demo_processes import DemoError, Processes
from pointsman.lab.demo_traffic import Outage, Result, arranged, drive
from pointsman.lab.traffic import DemoRequest, requests

KEY = "demo-key-of-no-value"
VICTIM = "meridian"


def main() -> int:
    """Run the demo and return its exit status."""
    options = _arguments()
    out = demo_report.console()
    with _locked(options.folder) as free:
        if not free:
            out.print(f"another demo is running in {options.folder}; stop it first, or name another --folder")
            return 1
        return _in_folder(options, out)


def _in_folder(options: argparse.Namespace, out: Console) -> int:
    shutil.rmtree(options.folder / "data", ignore_errors=True)
    processes = Processes(options.folder, options.config, options.providers)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also when started in the background
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        good = _show(processes, out)
        if os.environ.get("CI") != "true":
            _stay(processes, out)
    except DemoError as error:
        out.print(f"[red]demo: {escape(str(error))}[/red]")
        return 1
    except KeyboardInterrupt:
        out.print("stopped")
        return 130
    finally:
        processes.close()
    return 0 if good else 1


def _show(processes: Processes, out: Console) -> bool:
    """Run the traffic and show what came of it; tell whether every claim of the demo holds."""
    with out.status("starting providers and router") if out.is_terminal else contextlib.nullcontext():
        processes.start()
    asked = arranged(requests())
    out.print(
        f"[bold]Pointsman[/bold] before four pretend providers on three wires (OpenAI, Anthropic, Gemini): {len(asked)} "
        f"requests from the official openai client. Half-way [bold]{VICTIM}[/bold] is killed; later it comes back."
    )
    results = asyncio.run(_traffic(processes, out, asked))
    rows = demo_bill.ledger_rows(processes.data, len(results))
    served = processes.mock("GET", "/_mock/log?since=0")["entries"]
    audit = demo_bill.audit(rows, served, demo_bill.prices_of(processes.config))
    _tables(processes, out, results, audit)
    failed = sum(bool(result.error) for result in results)
    equal = audit.equal and audit.requests == len(results)
    out.print()
    out.print(
        f"demo: {len(results)} requests, {failed} client errors, {len(audit.failed_over)} failed over, "
        f"the bill is {'equal' if equal else 'wrong'}"
    )
    return equal and not failed and bool(audit.failed_over)


async def _traffic(processes: Processes, out: Console, asked: list[DemoRequest]) -> list[Result]:
    with demo_report.bar(out, len(asked)) as shown:

        async def switch(way: str) -> None:
            await asyncio.to_thread(processes.mock, "POST", f"/_mock/{way}", {"provider": VICTIM})
            shown.note(f"{VICTIM} is {way}")

        base_url = f"http://127.0.0.1:{processes.port}/v1"
        return await drive(base_url, KEY, asked, Outage(len(asked), switch), shown.done)


def _tables(processes: Processes, out: Console, results: list[Result], audit: demo_bill.Audit) -> None:
    routes = yaml.safe_load(processes.config.read_text(encoding="utf-8"))["routes"]
    strategies = {name: route.get("strategy", "weighted") for name, route in routes.items()}
    demo_report.title(out, "What went where", "answers by deployment")
    demo_report.routed(out, results, strategies)
    demo_report.title(out, "How long clients waited")
    demo_report.latency(out, results)
    demo_report.title(out, "The outage", "one of the requests that it moved, explained")
    demo_report.outage(out, results, audit)
    _commands(processes, out, audit)
    demo_report.bill(out, audit)


def _commands(processes: Processes, out: Console, audit: demo_bill.Audit) -> None:
    """Show `explain` of a request that failed over, and the bill."""
    for id in audit.failed_over[:1]:
        demo_report.command(out, ["explain", id], processes.command("explain", id))
    demo_report.title(out, "The bill")
    words = ["usage", "--by", "deployment"]
    demo_report.command(out, words, processes.command(*words))


def _stay(processes: Processes, out: Console) -> None:
    """Say where everything is, and keep it running until Ctrl-C."""
    api, status = f"http://127.0.0.1:{processes.port}/v1", f"http://127.0.0.1:{processes.admin_port}/"
    demo_report.title(out, "Everything is still running", "Ctrl-C stops it")
    out.print(f"  API     {api}  (key {KEY})")
    out.print(f"  status  {status}  (password: pointsman admin token --data {processes.data})", soft_wrap=True)
    out.print(f"  ledger  pointsman tail --data {processes.data}", soft_wrap=True)
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin":
        with contextlib.suppress(webbrowser.Error, OSError):
            webbrowser.open(status)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pointsman.lab.demo", description="Show what the router does.")
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="where logs and the ledger go (.demo)")
    parser.add_argument("--config", type=Path, default=Path("examples/demo.yaml"), help="the router's configuration")
    parser.add_argument(
        "--providers", type=Path, default=Path("examples/demo-providers.yaml"), help="what the mock plays"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
