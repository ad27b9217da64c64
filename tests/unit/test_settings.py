"""The settings file: a mistake is one sentence with its place; defaults are of this version."""

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import jsonschema
import pytest
import yaml
from tributary import config
from tributary.errors import SettingsError
from tributary.settings import describe
from tributary.settings.read import check, read

BRAND = """
brands:
  - slug: acme
    name: Acme Courses
    reporting_currency: USD
    time_zone: Asia/Jakarta
"""
ACCOUNT = 'platform: meta, account_id: "10", conn_id: meta_acme'
META = "platform: meta, name: acme-meta, conn_id: meta_acme, pixel_id: '123'"
GOOGLE = "platform: google_ads, name: g, conn_id: google_acme, customer_id: '1112223333'"


def _faults(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        check(yaml.safe_load(text))
    head, *lines = str(caught.value).splitlines()
    assert head == "The settings cannot be used:"
    return [line.removeprefix("  ") for line in lines]


def _brand(more: str) -> str:
    return BRAND + "    " + dedent(more).strip().replace("\n", "\n    ") + "\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "the file: must be a mapping, not None"),
        ("- brands", "the file: must be a mapping, not ['brands']"),
        ("brands: {}", "brands: must be a list, not {}"),
        ("brandz: []\nbrands: []", "the file: unknown key brandz (did you mean brands?)"),
        ("{}", "the file: brands is missing"),
        (_brand("colour: red"), "brands[0]: unknown key colour"),
        (
            _brand("add_accounts: []\nnote: 1"),
            "brands[0]: unknown keys add_accounts (did you mean ad_accounts?), note",
        ),
        (BRAND.replace("    name: Acme Courses\n", ""), "brands[0]: name is missing"),
        (
            "brands: [{slug: acme}]",
            "brands[0]: name, reporting_currency, time_zone are missing",
        ),
        (
            _brand("ad_accounts: [{platform: meta, account_id: 1000000000, conn_id: m}]"),
            "brands[0].ad_accounts[0].account_id: must be text (in quotes), not 1000000000",
        ),
        (
            _brand('ad_accounts: [{platform: meta, account_id: "act_10", conn_id: m}]'),
            "brands[0].ad_accounts[0].account_id: 'act_10' is not right: "
            "Digits only, without `act_`, in quotes.",
        ),
        (
            _brand(f"ad_accounts: [{{{ACCOUNT}, lookback: 7}}]"),
            "brands[0].ad_accounts[0]: unknown key lookback (did you mean lookback_days?)",
        ),
        (
            _brand(f"ad_accounts: [{{{ACCOUNT}, reconcile: ignore}}]"),
            "brands[0].ad_accounts[0].reconcile: must be one of fail, warn, not 'ignore'",
        ),
        (
            _brand(f"ad_accounts: [{{{ACCOUNT}, tolerance: 0.05}}]"),
            "brands[0].ad_accounts[0].tolerance: must be text (in quotes) or null, not 0.05",
        ),
        (
            _brand(f"ad_accounts: [{{{ACCOUNT}, is_active: 'yes'}}]"),
            "brands[0].ad_accounts[0].is_active: must be true or false, not 'yes'",
        ),
        (
            _brand(f"ad_accounts: [{{{ACCOUNT}, lookback_days: 0}}]"),
            "brands[0].ad_accounts[0].lookback_days: 0 is less than the minimum of 1",
        ),
        (
            _brand(f"ad_accounts: [{{{ACCOUNT}, attribution_windows: [7d_view]}}]"),
            "brands[0].ad_accounts[0].attribution_windows[0]: must be one of 1d_click, 7d_click, "
            "28d_click, 1d_view, 1d_ev, not '7d_view'",
        ),
        (
            _brand(f"ad_accounts:\n  - {{{ACCOUNT}}}\n  - {{{ACCOUNT}}}"),
            "brands[0].ad_accounts[1].account_id: 10 is there already, under acme",
        ),
        (
            # YAML reads an unquoted NO as false.
            _brand("always_require_consent_in: [EEA, NO]"),
            "brands[0].always_require_consent_in[1]: must be text (in quotes), not False",
        ),
        (
            BRAND.replace("Asia/Jakarta", "Asia/Djakarta_"),
            "brands[0].time_zone: 'Asia/Djakarta_' is no IANA time zone",
        ),
        (
            _brand("default_country: UK"),
            "brands[0].default_country: 'UK' is no country of ISO 3166-1",
        ),
        (
            _brand("url_parameters: [Email]"),
            "brands[0].url_parameters[0]: 'Email' is not right: "
            "The parameter's name in lower case.",
        ),
        (
            BRAND.replace("Asia/Jakarta", "../etc/passwd"),
            "brands[0].time_zone: '../etc/passwd' is no IANA time zone",
        ),
        (
            BRAND.replace("Asia/Jakarta", "''"),
            "brands[0].time_zone: '' is no IANA time zone",
        ),
        (
            BRAND.replace("USD", "usd"),
            "brands[0].reporting_currency: 'usd' is not right: ISO 4217 code, such as USD.",
        ),
        (
            BRAND.replace("USD", "ZZZ"),
            "brands[0].reporting_currency: 'ZZZ' is no currency",
        ),
        (
            BRAND + BRAND.removeprefix("\nbrands:\n"),
            "brands[1].slug: acme is there twice",
        ),
        (
            _brand(f"destinations: [{{{META}}}, {{{META}}}]"),
            "brands[0].destinations[1].name: acme-meta is there twice",
        ),
        (
            _brand(f"destinations: [{{{META}, send_from: '2026-01-31'}}]"),
            "brands[0].destinations[0].send_from: '2026-01-31' is no moment with an offset "
            "(2026-01-31T00:00:00+00:00)",
        ),
        (
            _brand(f"destinations: [{{{META}, customer_id: '1112223333'}}]"),
            "brands[0].destinations[0]: unknown key customer_id",
        ),
        (
            _brand(f"destinations: [{{{META.replace('meta,', 'tiktok,', 1)}}}]"),
            "brands[0].destinations[0].platform: must be one of meta, google_data_manager, "
            "google_ads, posthog, not 'tiktok'",
        ),
        (
            _brand(f"destinations: [{{{GOOGLE.replace('google_ads', 'google-ads')}}}]"),
            "brands[0].destinations[0].platform: must be one of meta, google_data_manager, "
            "google_ads, posthog, not 'google-ads' (did you mean google_ads?)",
        ),
        (
            _brand("ad_accounts: [{platform: metta, account_id: '10', conn_id: m}]"),
            "brands[0].ad_accounts[0].platform: must be one of meta, google_ads, not 'metta' "
            "(did you mean meta?)",
        ),
        (
            _brand("destinations: [{name: acme, conn_id: x}]"),
            "brands[0].destinations[0]: platform is missing",
        ),
        (
            _brand("destinations: [acme-meta]"),
            "brands[0].destinations[0]: must be a mapping, not 'acme-meta'",
        ),
        (
            _brand("webhooks: [{source: strip, conn_id: a}]"),
            "brands[0].webhooks[0].source: must be one of stripe, denefits, ghl, perspective, "
            "chatbot, not 'strip' (did you mean stripe?)",
        ),
        (
            _brand(f"destinations: [{{{META}, batch_size: 1001}}]"),
            "brands[0].destinations[0].batch_size: 1001 is greater than the maximum of 1000",
        ),
        (
            _brand(f"destinations: [{{{GOOGLE}, events: {{}}}}]"),
            "brands[0].destinations[0].events: must not be empty",
        ),
        (
            BRAND.replace("Acme Courses", "''"),
            "brands[0].name: must not be empty",
        ),
        (
            _brand("event_id_template: order"),
            "brands[0].event_id_template: must be made of text and {transaction_id}, "
            "{event_name}, {contact_id}, {brand}, with {transaction_id} in it (else different "
            "events would have one id), not 'order'",
        ),
        (
            _brand(f"destinations: [{{{GOOGLE}}}]"),
            "brands[0].destinations[0]: events is missing",
        ),
        (
            _brand(f"destinations: [{{{GOOGLE}, events: {{Purchase: 42}}}}]"),
            "brands[0].destinations[0].events.Purchase: must be text (in quotes), not 42",
        ),
        (
            _brand("webhooks: [{source: stripe, conn_id: a}, {source: stripe, conn_id: b}]"),
            "brands[0].webhooks: stripe is there twice",
        ),
        (
            _brand("webhooks: [{source: ghl, conn_id: a, renewals: skip}]"),
            "brands[0].webhooks[0]: unknown key renewals",
        ),
        (
            _brand("webhooks: [{source: stripe, conn_id: a, disputes: lost}]"),
            "brands[0].webhooks[0].disputes: must be one of ignore, refund, not 'lost'",
        ),
    ],
)
def test_a_mistake_is_one_line_with_its_place(text: str, fault: str) -> None:
    """Whoever writes the file has to guess what is wrong and where."""
    assert _faults(text) == [fault]


def test_all_mistakes_are_reported_at_once() -> None:
    """A file with many mistakes takes many attempts to correct."""
    text = _brand(
        f"colour: red\nad_accounts: [{{{ACCOUNT}, reconcile: no}}, {{platform: meta}}]\n"
        f"destinations: [{{{META}}}, {{{META}}}]"
    ).replace("Asia/Jakarta", "Djakarta")
    assert _faults(text) == [
        "brands[0]: unknown key colour",
        "brands[0].time_zone: 'Djakarta' is no IANA time zone",
        "brands[0].ad_accounts[0].reconcile: must be one of fail, warn, not False",
        "brands[0].ad_accounts[1]: conn_id, account_id are missing",
        "brands[0].destinations[1].name: acme-meta is there twice",
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"brands:\n  - slug: [", "{path} is not YAML at line 2: "),
        (b"brands: []\n\tx: 1", "{path} is not YAML at line 2: "),
        (b"brands: \xff\xfe", "{path} is not UTF-8 text."),
        (b"brands: a\x00b", "{path} is not YAML: "),
        (
            b"brands: []\nbrands: []\n",
            "{path} is not YAML at line 2: the key brands is there twice.",
        ),
        (
            b"brands:\n  - slug: acme\n    ad_accounts: []\n    name: A\n    ad_accounts: []\n",
            "{path} is not YAML at line 5: the key ad_accounts is there twice.",
        ),
    ],
)
def test_a_file_that_is_no_yaml_is_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    """The user sees a traceback of the YAML parser, or half of the file is ignored."""
    path = tmp_path / "settings.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(sentence.format(path=path))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The user sees a traceback instead of the path that was mistyped."""
    with pytest.raises(SettingsError, match=f"^There is no settings file {tmp_path}/none.yaml.$"):
        read(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match=f"^{tmp_path} cannot be read: Is a directory.$"):
        read(tmp_path)


def test_defaults_are_filled_in_and_not_stored() -> None:
    """Code that reads a setting meets another default than promised, or a later version's default
    never takes effect, since the old one was stored."""
    text = _brand(
        f"ad_accounts: [{{{ACCOUNT}}}]\ndestinations: [{{{META}}}]\n"
        "webhooks: [{source: stripe, conn_id: s}]"
    )
    (brand,) = check(yaml.safe_load(text)).brands
    defaults: dict[str, object] = {
        "slug": "acme",
        "name": "Acme Courses",
        "reporting_currency": "USD",
        "time_zone": "Asia/Jakarta",
        "default_country": None,
        "url_parameters": [],
        "managed_by": "file",
        "event_id_template": None,
        "consent_when_unknown": "deny",
        "always_require_consent_in": ["EEA", "GB", "CH"],
        "event_names": {},
        "property_aliases": {},
    }
    assert brand.model_dump(exclude={"ad_accounts", "destinations", "webhooks"}) == defaults
    (account,), (destination,), (webhook,) = brand.ad_accounts, brand.destinations, brand.webhooks
    assert account.model_dump() == {
        "platform": "meta",
        "account_id": "10",
        "name": None,
        "conn_id": "meta_acme",
        "is_active": True,
        "lookback_days": 28,
        "reread_days": 90,
        "reconcile": "fail",
        "tolerance": None,
        "attribution_windows": ["1d_click", "7d_click", "28d_click", "1d_view"],
        "action_types": ["omni_purchase", "purchase"],
    }
    assert destination.model_dump() == {
        "name": "acme-meta",
        "platform": "meta",
        "conn_id": "meta_acme",
        "is_active": True,
        "pixel_id": "123",
        "test_event_code": None,
        "batch_size": 1000,
        "in_flight": 4,
        "sync_interval_minutes": 15,
        "send_from": None,
        "limited_data_use": False,
        "events": None,
    }
    assert webhook.model_dump() == {
        "source": "stripe", "conn_id": "s", "renewals": "purchase", "disputes": "ignore",
    }  # fmt: skip
    written = yaml.safe_load(text)["brands"][0]
    assert brand.stored() == written
    assert destination.stored() == written["destinations"][0]
    for model in (account, destination):
        earlier = {**model.model_dump(), "of_another_version": 1}
        assert type(model).of_stored(earlier) == model


def test_what_the_file_says_wins_over_defaults() -> None:
    """A setting in the file is ignored."""
    account = f"{ACCOUNT}, lookback_days: 7, reconcile: warn, tolerance: '0.05', is_active: false"
    (brand,) = check(yaml.safe_load(_brand(f"ad_accounts: [{{{account}}}]"))).brands
    (found,) = brand.ad_accounts
    assert (found.lookback_days, found.reconcile) == (7, "warn")
    assert (found.tolerance, found.is_active) == ("0.05", False)


EXAMPLE = """
brands:
  - slug: acme
    name: Acme Courses
    reporting_currency: USD
    time_zone: Asia/Jakarta
    event_id_template: "{transaction_id}"
    consent_when_unknown: deny
    always_require_consent_in: [EEA, GB, CH]
    event_names: {signup_started: Lead}
    ad_accounts:
      - {platform: meta, account_id: "1000000000", conn_id: meta_acme, lookback_days: 28,
         reconcile: fail}
    destinations:
      - {name: acme-meta, platform: meta, conn_id: meta_acme, pixel_id: "123",
         test_event_code: null, batch_size: 1000, in_flight: 4, sync_interval_minutes: 15,
         is_active: true, limited_data_use: false, send_from: null}
      - {name: acme-google, platform: google_data_manager, conn_id: google_acme,
         customer_id: "1112223333", events: {Purchase: "42", Lead: "43"}, batch_size: 2000,
         sync_interval_minutes: 15, is_active: true}
    webhooks:
      - {source: stripe, conn_id: stripe_acme}
"""


def test_the_documented_example_is_valid() -> None:
    """The example of the documentation is refused."""
    (brand,) = check(yaml.safe_load(EXAMPLE)).brands
    assert [d.name for d in brand.destinations] == ["acme-meta", "acme-google"]
    assert brand.event_names == {"signup_started": "Lead"}
    assert brand.destinations[1].events == {"Purchase": "42", "Lead": "43"}


def test_the_demo_file_is_valid() -> None:
    """`make demo` stops at its own settings."""
    demo = read(config.ROOT / "sandbox" / "demo.yaml")
    accounts = [account.account_id for brand in demo.brands for account in brand.ad_accounts]
    assert accounts == ["1000000001", "1000000002", "1000000003"]


def test_every_key_is_described() -> None:
    """An editor completes a key, or a page lists it, without a word on what it does."""
    undescribed = [
        f"{model.__name__}.{key}"
        for model in describe.models()
        for key, field in model.model_fields.items()
        if not field.description and key not in ("platform", "source")  # these choose the model
    ]
    assert undescribed == []


@pytest.mark.parametrize("path", sorted(describe.generated()))
def test_what_is_generated_from_the_models_is_up_to_date(path: Path) -> None:
    """Editors and readers see keys that are gone, and do not see new ones."""
    assert path.read_text(encoding="utf-8") == describe.generated()[path], (
        "run `python -m tributary.settings`"
    )


def test_the_schema_is_a_schema_and_accepts_the_example() -> None:
    """An editor marks a right file as wrong."""
    schema = describe.schema()
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    assert list(validator.iter_errors(yaml.safe_load(EXAMPLE))) == []
    wrong = _brand(f"destinations: [{{{META}, batch_size: 0}}]")
    assert len(list(validator.iter_errors(yaml.safe_load(wrong)))) == 1


@pytest.mark.parametrize("text", ["brandz: []", "brands: [", None])
def test_configure_ends_with_the_sentence_and_no_traceback(
    tmp_path: Path, text: str | None
) -> None:
    """A typing mistake ends in a stack trace, or with exit code 0."""
    path = tmp_path / "settings.yaml"
    if text is not None:
        path.write_text(text)
    command = [sys.executable, "-m", "tributary", "configure", str(path)]
    ended = subprocess.run(command, cwd=config.ROOT, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert re.match(
        r"Error: (The settings cannot be used:\n|There is no|.* is not YAML)", ended.stderr
    )
    assert "Traceback" not in ended.stderr
