"""The admin API keeps to its OpenAPI document, whatever is sent: Schemathesis over every operation.

To JSON Schema 1.0 is a whole number, to us it is none: such bodies are left out.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemathesis
from admin_asking import TOKEN
from hypothesis import HealthCheck, assume, given, settings
from hypothesis.errors import Unsatisfiable
from records import policy
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth

from pointsman.control.admin import Admin
from pointsman.control.main import hosts_of
from pointsman.control.pump import Counts
from pointsman.control.replay import Policies
from pointsman.stores.sqlite import FILE, SqliteWriter


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The description of a router with a ledger, whose supervisor answers a wish to reload at once."""
    data = tmp_path_factory.mktemp("data")
    (data / "run").mkdir()
    writer = SqliteWriter(data / FILE)
    Policies(writer).keep(policy())
    writer.close()

    def answer(token: str) -> None:
        told = {"answers": [token], "restart": [], "ok": True, "version": "v"}
        (data / "run" / "reload.json").write_text(json.dumps(told))

    app = Admin(data, policy(), Counts(), answer).app(TOKEN, hosts_of("127.0.0.1"))
    return schemathesis.openapi.from_asgi("/openapi.json", app, headers={"host": "127.0.0.1"})


def _has_a_fraction(body: Any) -> bool:
    inside = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    return isinstance(body, float) or any(map(_has_a_fraction, inside))


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_operation_keeps_to_the_document(api: Any, mode: GenerationMode) -> None:
    operations = [found.ok() for found in api.get_all_operations()]
    assert len(operations) > 25
    headers = {"authorization": f"Bearer {TOKEN}", "host": "127.0.0.1"}
    for operation in operations:

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=12, suppress_health_check=list(HealthCheck), deadline=None, derandomize=True, database=None
        )
        def holds(case: Any) -> None:
            assume(not _has_a_fraction(case.body))
            case.call_and_validate(headers=headers, excluded_checks=[ignored_auth])  # test_callers_api has everybody

        try:
            holds()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE and not operation.path_parameters  # nothing of it can be wrong
