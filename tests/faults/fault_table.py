"""The table of docs/faults.md: which test plays which fault of the catalogue. `python tests/faults/fault_table.py` writes it.

A test belongs to a fault by its number (`test_f44_...`, also `test_f62_f63_...`), or because ALSO names it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TESTS = ROOT / "tests"
PAGE = ROOT / "docs" / "faults.md"
BEGIN = "<!-- written by tests/faults/fault_table.py -->\n"
_NUMBERS = re.compile(r"(?:f(\d+)|[is]\d+)_")

SECTIONS = {
    "Reaching the provider": range(1, 14),
    "The provider answers badly, before content": range(14, 41),
    "Streams": range(41, 62),
    "Clients": range(62, 76),
    "Money and state": range(76, 94),
    "Process and operations": range(94, 104),
    "Herds": range(104, 110),
    "Attacks": range(110, 113),
}

NAMES = {
    1: "DNS says no", 2: "DNS blocks", 3: "connection refused or reset", 4: "connection never opens",
    5: "TLS certificate does not hold", 6: "TLS handshake stalls", 7: "pooled connection is stale",
    8: "connection pool is exhausted", 9: "HTTP/2 GOAWAY, REFUSED_STREAM", 10: "the provider's address has moved",
    11: "upload stalls", 12: "request arrives, answer is lost", 13: "our own network is down", 14: "429 with Retry-After",
    15: "Retry-After in odd forms", 16: "429 of one deployment of an account", 17: "429 that time does not heal",
    18: "5xx", 19: "our key is refused", 20: "the model is gone", 21: "context length exceeded", 22: "invalid request",
    23: "content filter", 24: "200 with an error body", 25: "200 with a web page", 26: "200 without an answer",
    27: "200, finished, nothing said", 28: "usage missing or impossible", 29: "unreadable or changed reply",
    30: "another model served", 31: "tool arguments are no JSON", 32: "reply beyond the bound", 33: "body cut or misdeclared",
    34: "accepts, then silence", 35: "a byte at a time", 36: "slow, but it answers", 37: "flapping",
    38: "everything is down", 39: "comes back with little capacity", 40: "redirect",
    41: "200, then the end", 42: "an error as first event", 43: "preamble, then an error", 44: "cut after content",
    45: "stalls", 46: "pings and never content", 47: "one malformed event", 48: "characters cut by chunk borders",
    49: "legal but unusual line forms", 50: "upstream comments", 51: "our own framing breaks clients",
    52: "what leaves before content", 53: "terminal marker missing or doubled", 54: "usage of streams",
    55: "tool call cut by limit or network", 56: "several choices interleaved", 57: "an event of 20 MiB",
    58: "slow reader", 59: "client stops reading", 60: "hedged sends", 61: "late data after the end",
    62: "client leaves while waiting", 63: "client leaves mid-stream", 64: "many large clients leave at once",
    65: "a crowd leaves at once", 66: "half-open client", 67: "slow head or body", 68: "huge or odd bodies",
    69: "compressed bodies", 70: "heads that can be read two ways", 71: "SDK retries", 72: "same key, another body",
    73: "client's deadline is short", 74: "one key opens very many streams", 75: "flood of wrong keys",
    76: "the last cent, asked for by many", 77: "one budget, several machines", 78: "kill before the send",
    79: "kill before the end is booked", 80: "graceful stop", 81: "journal torn or flipped", 82: "disk full or read-only",
    83: "ledger is not there", 84: "Redis is not there", 85: "pump slower than traffic", 86: "clock jumps",
    87: "budget window turns over", 88: "price changes meanwhile, or is unknown", 89: "settled twice or out of order",
    90: "ledger locked by others", 91: "migration cut off; newer file", 92: "response cache", 93: "holds leak",
    94: "kill of one worker", 95: "stop with long streams", 96: "reload", 97: "plug-in misbehaves",
    98: "out of descriptors or ports", 99: "memory is short", 100: "standard output blocks", 101: "labels without end",
    102: "long question to the ledger", 103: "probes during all of it", 104: "outage of everything, SDKs retrying",
    105: "all ejections end together", 106: "load times ten", 107: "one tenant sends nearly all",
    108: "cold start", 109: "the same prompt a thousand times", 110: "forged addresses", 111: "injection", 112: "spoofing",
}  # fmt: skip

# Tests that play a fault and are named after something else, below tests/.
ALSO = {
    96: [
        "cli/test_reload.py::test_a_reload_a_second_under_load_fails_no_request",
        "cli/test_reload.py::test_a_bad_file_changes_nothing_and_says_why",
        "cli/test_reload.py::test_a_file_is_taken_only_when_it_has_come_to_rest",
        "cli/test_reload.py::test_a_stream_ends_under_the_version_it_began_with",
        "cli/test_reload.py::test_what_is_known_of_a_deployment_survives_unless_it_is_another",
        "cli/test_reload_steps.py::test_whatever_happens_all_end_on_one_version",
    ],
    97: [
        "gateway/test_plugins.py::test_what_fails_leaves_the_choice_to_the_fallback_and_is_disabled",
        "gateway/test_plugins.py::test_a_slow_one_is_obeyed_thrice_then_disabled_and_later_tried_again",
        "strategies/test_plugins.py::test_three_strikes_disable_a_plug_in_for_a_minute_and_then_it_is_tried_again",
    ],
}

# Why a fault has no test.
REASONS = {
    9: "HTTP/1.1 only towards providers",
    110: "not yet: addresses come from the operator's config only",
    112: "not yet: no fact of a request selects a tenant or a budget",
}


def numbers_of(name: str) -> list[int]:
    """Return the faults that a test's name begins with: test_f62_i22_f63_words -> 62, 63."""
    found, at = [], len("test_")
    while match := _NUMBERS.match(name, at):
        found += [int(match[1])] if match[1] else []
        at = match.end()
    return found


def all_tests() -> set[str]:
    """Return `path::name` of every test function, paths below tests/: those written out, and those made of gateway_faults."""
    found: set[str] = set()
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found.add(f"{path.relative_to(TESTS)}::{node.name}")
    return found | _made()


def _made() -> set[str]:
    """Return the tests that tests/gateway/test_failover.py makes, one for each row of its table."""
    sys.path.insert(0, str(TESTS / "gateway"))
    from gateway_faults import FAULTS

    name = "gateway/test_failover.py::test_f{0.number:02d}_{0.name}_gives_another_deployments_answer"
    return {name.format(fault) for fault in FAULTS}


def simulated() -> dict[int, list[str]]:
    """Return the faults that the simulation draws, by number."""
    sys.path.insert(0, str(TESTS / "simulation"))
    from sim_scenario import FAULTS

    found: dict[int, list[str]] = defaultdict(list)
    for name in FAULTS:
        found[int(name[1:].partition("-")[0])].append(name)
    return found


def tests_of() -> dict[int, list[str]]:
    """Return the tests of each fault, in order."""
    found: dict[int, list[str]] = defaultdict(list)
    for test in sorted(all_tests()):
        for number in numbers_of(test.rpartition("::")[2]):
            found[number].append(test)
    for number, more in ALSO.items():
        found[number] += [test for test in more if test not in found[number]]
    return found


def table() -> str:
    """Return the generated part of the page."""
    tests, drawn = tests_of(), simulated()
    lines = []
    for section, numbers in SECTIONS.items():
        lines += [f"## {section}", "", "| # | fault | played by |", "| --- | --- | --- |"]
        for number in numbers:
            cells = _by_file(tests.get(number, []))
            if drawn.get(number):
                cells.append(f"simulation: {', '.join(f'`{name}`' for name in drawn[number])}")
            if not tests.get(number):
                cells.insert(0, REASONS.get(number, "?"))
            lines.append(f"| {number} | {NAMES[number]} | {'<br>'.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _by_file(tests: list[str]) -> list[str]:
    """Return `path` `::name` cells, the path with the first test of a file only."""
    cells, last = [], ""
    for test in tests:
        path, _, name = test.partition("::")
        cells.append(f"`tests/{path}::{name}`" if path != last else f"`::{name}`")
        last = path
    return cells


def main() -> None:
    """Write the table into the page, below the marker."""
    head = PAGE.read_text().partition(BEGIN)[0]
    PAGE.write_text(head + BEGIN + "\n" + table())


if __name__ == "__main__":
    main()
