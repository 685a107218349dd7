"""The harness of the data plane's tests is used here; `tests/conftest.py` finds it."""
