"""Secret: a value that cannot leak by being printed, pickled or encoded (S7)."""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec


class Secret:
    """Hold a credential. Only `reveal` gives it back; repr, str, format, pickle and encoders do not."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never pickled")


def secrets_of(value: Any) -> list[str]:
    """Return every Secret within a Struct, revealed: for whoever sees to it that none is written."""
    if isinstance(value, Secret):
        return [value.reveal()]
    if isinstance(value, msgspec.Struct):
        return [one for name in value.__struct_fields__ for one in secrets_of(getattr(value, name))]
    if isinstance(value, dict):
        return [one for part in value.values() for one in secrets_of(part)]
    if isinstance(value, tuple | list):
        return [one for part in value for one in secrets_of(part)]
    return []


def reveal_for_worker(value: Any) -> str:
    """Encode a Secret on the private pipe to our own worker process; the only encoder hook that may do so."""
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(f"cannot encode {type(value).__name__}")


def secret_from_pipe(kind: type, value: Any) -> Any:
    """Decode what `reveal_for_worker` encoded."""
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise NotImplementedError(f"cannot decode {kind.__name__}")
