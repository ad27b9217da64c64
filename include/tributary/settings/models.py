"""The settings file as typed models: what it may say, its defaults, and what each key means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pycountry
from pydantic import (
    AfterValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_plain_validator_function

from tributary.platforms import registry
from tributary.platforms.google_ads.settings import GoogleAdsAccount
from tributary.platforms.meta.settings import MetaAdAccount
from tributary.platforms.settings import (
    AdAccountSettings,
    Connected,
    DestinationSettings,
    Format,
    Model,
    Slug,
    Text,
    did_you_mean,
    mistake,
    one_of,
)


@dataclass(frozen=True)
class ChosenBy:
    """A mapping whose model is chosen by one of its keys.

    The models are asked for each time: a platform that is registered later is accepted.
    """

    key: str
    models: Callable[[], Mapping[str, type[Model]]]

    def model(self, value: object) -> Model:
        """The value as the model that its key names.

        Raises:
            ValidationError: its sentences say what is wrong.
        """
        models = self.models()
        if not isinstance(value, dict):
            raise _mistake((), f"must be a mapping, not {value!r}")
        if self.key not in value:
            raise _mistake((), f"{self.key} is missing")
        chosen = value[self.key]
        if not isinstance(chosen, str) or chosen not in models:
            sentence = one_of(models, chosen) + did_you_mean(chosen, models)
            raise _mistake((self.key,), sentence)
        return models[chosen].model_validate(value)

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return no_info_plain_validator_function(self.model)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        models = dict.fromkeys(self.models().values())
        return {"oneOf": [handler(TypeAdapter(model).core_schema) for model in models]}


def _mistake(place: tuple[int | str, ...], sentence: str) -> ValidationError:
    return ValidationError.from_exception_data("settings", [mistake(place, sentence)])


def _currency(code: str) -> str:
    if pycountry.currencies.get(alpha_3=code) is None:
        raise ValueError(f"{code!r} is no currency")
    return code


def _country(code: str) -> str:
    if pycountry.countries.get(alpha_2=code) is None:
        raise ValueError(f"{code!r} is no country of ISO 3166-1")
    return code


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no IANA time zone") from None
    return name


_TEMPLATE_FIELDS = ("transaction_id", "event_name", "contact_id", "brand")


def _template(value: str) -> str:
    try:
        fields = {name for _, name, _, _ in Formatter().parse(value) if name}
    except ValueError:
        fields = set()
    if "transaction_id" not in fields or fields - set(_TEMPLATE_FIELDS):
        names = ", ".join(f"{{{name}}}" for name in _TEMPLATE_FIELDS)
        raise ValueError(
            f"must be made of text and {names}, with {{transaction_id}} in it (else different "
            f"events would have one id), not {value!r}"
        )
    return value


class Webhook(Connected):
    """A provider that posts payments or contacts. Its connection has the signing secret."""

    source: str = Field(description="The provider, in which the other keys differ.")


class PlainWebhook(Webhook):
    """A webhook without settings of its own."""

    source: Literal["denefits", "perspective", "chatbot"]


class StripeWebhook(Webhook):
    """Payments, refunds and disputes of Stripe."""

    source: Literal["stripe"]
    renewals: Literal["purchase", "skip", "Subscribe"] = Field(
        "purchase",
        description="What a subscription's payments after its first one are: purchase, skip "
        "(stored and not sent) or Subscribe (sent under that name).",
    )
    disputes: Literal["ignore", "refund"] = Field(
        "ignore",
        description="Whether a disputed amount counts as a refund until the dispute is won.",
    )


class GhlWebhook(Webhook):
    """Contacts and appointments of GoHighLevel."""

    source: Literal["ghl"]
    events: dict[Text, Text] = Field(
        {},
        description="Which event a type of webhook becomes, such as {ContactCreate: Lead}. "
        "Appointments are AddToCart where they are not named here; every other type is ignored.",
    )


WEBHOOKS: dict[str, type[Webhook]] = {
    "stripe": StripeWebhook,
    "denefits": PlainWebhook,
    "ghl": GhlWebhook,
    "perspective": PlainWebhook,
    "chatbot": PlainWebhook,
}
AD_ACCOUNTS: dict[str, type[AdAccountSettings]] = {
    "meta": MetaAdAccount,
    "google_ads": GoogleAdsAccount,
}


def destination_models() -> dict[str, type[DestinationSettings]]:
    """The models of destinations by platform: of all that are registered now."""
    return {name: registry.platform(name).settings for name in registry.names()}


class Brand(Model):
    """A brand: a shop or a product with its own ad accounts, people and conversions."""

    slug: Slug = Field(description="Lower-case letters, digits, `-` and `_`; never changed.")
    name: Text = Field(description="What people call the brand.")
    reporting_currency: Annotated[
        str, Format("[A-Z]{3}", "ISO 4217 code, such as USD."), AfterValidator(_currency)
    ] = Field(description="ISO 4217 code, such as USD.")
    time_zone: Annotated[str, AfterValidator(_time_zone)] = Field(
        description="IANA name; dates transactions that no ad account claims, and reads event "
        "times without an offset."
    )
    default_country: (
        Annotated[
            str,
            Format("[A-Z]{2}", "ISO 3166-1 alpha-2 code, such as US."),
            AfterValidator(_country),
        ]
        | None
    ) = Field(
        None,
        description="ISO 3166-1 alpha-2 code of a shop of one country: by it the phone, state, zip "
        "and birthday of a person without a country are read. It is never sent as the person's "
        "country, and asks for consent where always_require_consent_in names it. Null: never "
        "guessed.",
    )
    url_parameters: list[
        Annotated[str, Format(r"[^\sA-Z&=#?]+", "The parameter's name in lower case.")]
    ] = Field(
        [],
        description="Query parameters of event_source_url that are kept and sent beside utm "
        "parameters and click ids: ids of products and campaigns, never of people. In lower case.",
    )
    managed_by: Literal["file", "api"] = Field(
        "file",
        description="Who may change the brand's settings: this file alone, or the API and the UI.",
    )
    event_id_template: Annotated[str, AfterValidator(_template)] | None = Field(
        None,
        description='How an event without an id gets one, such as "{transaction_id}". Must equal '
        "what the browser pixel sends. Null: a uuid5 of brand, transaction and event name.",
    )
    consent_when_unknown: Literal["deny", "allow"] = Field(
        "deny", description="What to assume of a person who was never asked."
    )
    always_require_consent_in: list[
        Annotated[str, Format("EEA|[A-Z]{2}", "EEA, or an ISO 3166-1 alpha-2 code.")]
    ] = Field(
        ["EEA", "GB", "CH"],
        description="Countries (ISO 3166-1 alpha-2) and EEA in which an unknown consent always "
        "means no.",
    )
    event_names: dict[str, Text] = Field(
        {},
        description="The brand's own event names → Meta standard names, added to the built-in "
        "mapping.",
    )
    property_aliases: dict[str, Text] = Field(
        {},
        description="The brand's own property names → ours, added to the built-in mapping.",
    )
    ad_accounts: list[Annotated[AdAccountSettings, ChosenBy("platform", lambda: AD_ACCOUNTS)]] = (
        Field([], description="Ad accounts whose spend is loaded.")
    )
    destinations: list[Annotated[DestinationSettings, ChosenBy("platform", destination_models)]] = (
        Field([], description="Where conversions go.")
    )
    webhooks: list[Annotated[Webhook, ChosenBy("source", lambda: WEBHOOKS)]] = Field(
        [], description="Which providers post conversions."
    )


class Settings(Model):
    """What is not secret: brands, their ad accounts, where their conversions go, and which webhooks
    they take. Applied by `tributary configure FILE.yaml`.
    """

    brands: list[Brand] = Field(description="The brands.")


def destination(platform: str, stored: Mapping[str, Any]) -> DestinationSettings:
    """The settings of a destination as `ops.destinations` keeps them.

    Raises:
        SettingsError: the platform is unknown.
    """
    model: type[DestinationSettings] = registry.platform(platform).settings
    return model.of_stored(stored)


def ad_account(platform: str, stored: Mapping[str, Any]) -> AdAccountSettings:
    """The settings of an ad account as `ops.ad_accounts` keeps them."""
    return AD_ACCOUNTS[platform].of_stored(stored)
