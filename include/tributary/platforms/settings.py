"""What the settings of every destination and every ad account have in common.

A platform's own keys are in the model that its folder adds; `tributary.settings` reads the file. A
mistake becomes one sentence here, where the model with its keys and their descriptions is known.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import no_info_after_validator_function

from tributary.errors import SettingsError


class Model(BaseModel):
    """A mapping of the settings file.

    What the file does not say is not stored, so that a default is the one of this version:
    `stored` gives what `ops` keeps.

    Raises:
        ValidationError: each of its errors is a sentence about the place in its `loc`.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def stored(self, *without: str) -> dict[str, Any]:
        """What the file says, as JSON, without these keys."""
        return self.model_dump(mode="json", exclude_unset=True, exclude=set(without))

    @classmethod
    def of_stored(cls, stored: Mapping[str, Any]) -> Self:
        """The model of what `ops` keeps; a key that only another version has does not matter.

        Raises:
            SettingsError: a stored value cannot be used any more.
        """
        try:
            return cls.model_validate(stored, extra="ignore")
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise SettingsError(
                f"Settings in the warehouse cannot be used ({wrong.removeprefix(': ')}): correct "
                "the settings file and apply it with `tributary configure FILE.yaml`."
            ) from None

    @model_validator(mode="wrap")
    @classmethod
    def _in_sentences(cls, value: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except ValidationError as error:
            found = list(cls._sentences(error.errors(include_url=False)))
            raise ValidationError.from_exception_data(cls.__name__, found) from None

    @classmethod
    def _sentences(cls, errors: list[ErrorDetails]) -> Iterator[InitErrorDetails]:
        own = [error for error in errors if len(error["loc"]) == 1]
        if unknown := [str(e["loc"][0]) for e in own if e["type"] == "extra_forbidden"]:
            hints = ", ".join(key + did_you_mean(key, cls.model_fields) for key in unknown)
            yield mistake((), f"unknown key{'s' if len(unknown) > 1 else ''} {hints}")
        if missing := [str(e["loc"][0]) for e in own if e["type"] == "missing"]:
            verb = "is" if len(missing) == 1 else "are"
            yield mistake((), f"{', '.join(missing)} {verb} missing")
        for error in errors:
            if error["type"] not in ("extra_forbidden", "missing"):
                loc = tuple(part for part in error["loc"] if part != "[key]")
                yield mistake(loc, cls._sentence(error))

    @classmethod
    def _sentence(cls, error: ErrorDetails) -> str:
        kind, value, context = error["type"], error["input"], error.get("ctx", {})
        if kind == "mistake":  # of a model within this one
            return str(context["sentence"])
        if kind == "value_error":  # of a validator
            return str(context["error"])
        if kind in _TYPES:
            field = cls.model_fields.get(str(error["loc"][0])) if len(error["loc"]) == 1 else None
            nullable = field is not None and type(None) in get_args(field.annotation)
            return f"must be {_TYPES[kind]}{' or null' if nullable else ''}, not {value!r}"
        if kind == "literal_error":
            return one_of(re.findall("'([^']*)'", context["expected"]), value)
        if kind == "greater_than_equal":
            return f"{value!r} is less than the minimum of {context['ge']}"
        if kind == "less_than_equal":
            return f"{value!r} is greater than the maximum of {context['le']}"
        if kind in ("string_too_short", "too_short"):
            return "must not be empty"
        return error["msg"]


_TYPES = {
    "string_type": "text (in quotes)",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}


def mistake(place: tuple[int | str, ...], sentence: str) -> InitErrorDetails:
    """A mistake at a place, as pydantic raises it."""
    error = PydanticCustomError("mistake", "{sentence}", {"sentence": sentence})
    return InitErrorDetails(type=error, loc=place, input=None)


def one_of(allowed: Iterable[str], value: object) -> str:
    """The sentence for a value that is none of those that are allowed."""
    return f"must be one of {', '.join(allowed)}, not {value!r}"


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """The known word that is close to one that is not known, in brackets; empty: none is."""
    near = difflib.get_close_matches(str(word), list(known), 1)
    return f" (did you mean {near[0]}?)" if near else ""


@dataclass(frozen=True)
class Format:
    """A pattern that all of a text must match, and in words what it is."""

    pattern: str
    words: str

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), "pattern": f"^{self.pattern}$"}

    def _check(self, value: str) -> str:
        if not re.fullmatch(self.pattern, value):
            raise ValueError(f"{value!r} is not right: {self.words}")
        return value


def _moment(value: str) -> str:
    try:
        aware = datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        aware = False
    if not aware:
        raise ValueError(f"{value!r} is no moment with an offset (2026-01-31T00:00:00+00:00)")
    return value


Text = Annotated[str, Field(min_length=1)]
Slug = Annotated[str, Format("[a-z0-9][a-z0-9_-]*", "Lower-case letters, digits, - and _.")]
Digits = Annotated[str, Format("[0-9]+", "Digits only, in quotes.")]
EventNames = Annotated[
    list[Text] | None,
    Field(description="Names of the events that this destination takes; null means all."),
]
Moment = Annotated[str, AfterValidator(_moment), Field(json_schema_extra={"format": "date-time"})]


class Connected(Model):
    """What has credentials."""

    conn_id: Text = Field(description="Id of the Airflow connection that holds the credentials.")


class AdAccountSettings(Connected):
    """An ad account whose spend is loaded."""

    platform: str = Field(description="The platform, in which the other keys differ.")
    account_id: Annotated[str, Format("[0-9]+", "Digits only, without `act_`, in quotes.")] = Field(
        description="The platform's id of the account: digits only, without `act_`, in quotes."
    )
    name: str | None = Field(
        None, description="What the Airflow UI calls the account; its id when absent."
    )
    is_active: bool = Field(True, description="Whether the account is loaded.")
    lookback_days: int = Field(
        28,
        ge=1,
        le=1127,
        description="Days that the daily run loads again, the newest ended one included.",
    )
    reread_days: int = Field(
        90,
        ge=0,
        le=1127,
        description="Days whose account totals the weekly run compares with the stored ones; 0: it "
        "leaves the account out.",
    )
    reconcile: Literal["fail", "warn"] = Field(
        "fail",
        description="What a day does whose ad rows differ from the account's totals: fail the "
        "task, or warn.",
    )
    tolerance: (
        Annotated[str, Format(r"[0-9]+(\.[0-9]+)?", 'Major units as text, such as "0.05".')] | None
    ) = Field(
        None,
        description='Largest difference in spend, in major units as text ("0.05"); null: one minor '
        "unit per ten ads with delivery.",
    )


class DestinationSettings(Connected):
    """Where a brand's conversions go."""

    name: Slug = Field(
        description="Unique over all brands: lower-case letters, digits, `-` and `_`."
    )
    platform: str = Field(description="The platform, in which the other keys differ.")
    is_active: bool = Field(
        True, description="Whether events are sent; without it those that wait are skipped."
    )
    events: list[Text] | dict[Text, Text] | None = Field(
        None, description="Which events this destination takes, by name; null means all."
    )
    batch_size: int = Field(1000, ge=1, description="Events of one request, at most.")
    in_flight: int = Field(4, ge=1, le=32, description="Requests under way at once.")
    sync_interval_minutes: int = Field(
        15, ge=1, description="Minutes between two uploads of the schedule."
    )
    send_from: Moment | None = Field(
        None,
        description="Earliest event time that is sent (ISO 8601 with offset); null: the moment the "
        "destination was first configured.",
    )
