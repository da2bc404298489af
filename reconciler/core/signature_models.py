"""Pydantic models: written by their own serializers, read by their own validators, fields by their names."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from reconciler.core.signature_codec import Codec

_OLDEST: Final = (2, 11)
"""Since then a model can be read by the names of its fields, whatever aliases there are."""
_HOLDERS: Final = (list, tuple, set, frozenset, dict)
_BY_NAME: Final[dict[str, bool]] = {"by_alias": False, "by_name": True}


class Models(Codec):
    """Every subclass of `pydantic.BaseModel`.

    Aliases, computed fields and private attributes are not written. A field with `exclude=True` comes back as its default.
    """

    def problem(self, cls: type) -> str:
        """Refuse what would not come back as it was given."""
        version: str = sys.modules["pydantic"].VERSION
        if not hasattr(cls, "model_validate_json") or _numbers(version) < _OLDEST:
            return f"need pydantic 2.11 or newer, installed is {version}: update it"
        try:
            written, read = _schema(cls, "serialization"), _schema(cls, "validation")
        except Exception as error:  # noqa: BLE001  # what a model declares is code of the user
            return (
                f"have no JSON form ({_first_line(error)}): give that field a type JSON can carry, or a "
                "PlainSerializer with a return_type"
            )
        return next(_problems(written, read), "")

    def name(self, cls: type, name_of: Callable[[Any], str]) -> str:
        """Name the class with its fields and their types."""
        fields: Mapping[str, Any] = cls.model_fields  # type: ignore[attr-defined]  # of every model
        parts = [f"{name}: {name_of(field.annotation)}" for name, field in fields.items()]
        return f"{super().name(cls, name_of)}{{{', '.join(parts)}}}"

    def write(self, value: Any) -> Any:  # noqa: ANN401  # as the base
        """Write the fields of the model as JSON values."""
        dumped = value.model_dump(mode="json", by_alias=False, round_trip=True, warnings=False)
        return _ordered(value, dumped)

    def read(self, cls: Any, data: Any) -> Any:  # noqa: ANN401  # as the base
        """Make the model from its fields; errors of validators are the fault of the value."""
        try:
            return cls.model_validate_json(json.dumps(data), **_BY_NAME)
        except Exception as error:
            raise ValueError(_sentence(error)) from error

    def same(self, one: Any, other: Any) -> bool:  # noqa: ANN401  # as the base
        """Compare the fields that are written, the extra ones too."""
        from reconciler.core.signature_values import same  # noqa: PLC0415  # it needs the codecs

        return same(_fields(one), _fields(other))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def _schema(cls: Any, mode: str) -> dict[str, Any]:  # noqa: ANN401  # a model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about defaults that cannot be shown
        schema: dict[str, Any] = cls.model_json_schema(by_alias=False, mode=mode)
    return schema


def _problems(written: dict[str, Any], read: dict[str, Any]) -> Iterator[str]:
    """List what would be lost between writing and reading, by the two schemas of one model."""
    texts = [part for part in _objects(written) if part.get("type") == "string"]
    if any(part.get("format") == "password" for part in texts):
        yield "hold a secret, which its JSON hides: declare it as `secrets=[Secret(…)]` of the task"
    if any(part.get("format") == "binary" for part in texts):
        yield (
            "hold bytes, which their JSON carries as UTF-8 alone: set ser_json_bytes='base64' and "
            "val_json_bytes='base64' in model_config"
        )
    for name, part in _definitions(read).items():
        properties = _definitions(written).get(name, {}).get("properties")
        lost = [] if properties is None else [f for f in part.get("required", ()) if f not in properties]
        if lost:
            yield f"need the field {lost[0]}, which is excluded from their JSON: give it a default"


def _definitions(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {"": schema, **schema.get("$defs", {})}


def _objects(schema: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401  # any part of a schema
    if isinstance(schema, dict):
        yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _objects(part)


def _fields(model: Any) -> dict[str, Any]:  # noqa: ANN401  # a model
    fields: Mapping[str, Any] = type(model).model_fields
    found = {name: getattr(model, name) for name, field in fields.items() if not field.exclude}
    return found | dict(model.__pydantic_extra__ or {})


def _ordered(value: Any, dumped: Any) -> Any:  # noqa: ANN401  # a value, and what pydantic wrote of it
    """Return what was written with sets sorted: their own order differs from process to process."""
    if getattr(type(value), "__pydantic_root_model__", False):
        value = value.root
    elif hasattr(type(value), "model_fields") and isinstance(dumped, dict):
        fields = _fields(value)
        return {name: _ordered(fields.get(name), part) for name, part in dumped.items()}
    if not isinstance(value, _HOLDERS) or not isinstance(dumped, list | dict) or len(value) != len(dumped):
        return dumped  # a single value, or a serializer of the user has made another form of it
    if isinstance(dumped, dict):
        values = value.values() if isinstance(value, dict) else value
        return {name: _ordered(part, dumped[name]) for part, name in zip(values, dumped, strict=True)}
    parts = [_ordered(part, written) for part, written in zip(value, dumped, strict=True)]
    return sorted(parts, key=msgspec.json.encode) if isinstance(value, set | frozenset) else parts


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(". ")


def _sentence(error: Exception) -> str:
    """Say what a validation found, on one line: first place and message."""
    found = getattr(error, "errors", None)
    if found is None:
        return f"{type(error).__name__}: {_first_line(error)}"
    parts = [
        f"{'.'.join(map(str, one['loc'])) or 'the model'}: {one['msg']}" for one in found(include_url=False)
    ]
    return "; ".join(parts)
