"""Every registered platform is complete, and every outcome and code has its meaning written."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import grpc
import pytest
from tributary import config
from tributary.deliver import destinations, upload
from tributary.errors import SettingsError
from tributary.platforms import meanings, registry
from tributary.platforms.base import (
    Action,
    EventsRefused,
    Platform,
    PlatformError,
    QuotaReached,
    StatusGone,
)
from tributary.settings.models import Brand

PLATFORMS = registry.names()
_IN_SQL = re.compile(r"outcome = (case .*? end|'\w+')", re.DOTALL)
_QUOTED = re.compile(r"(?:then|else|^) ?'(\w+)'")


# What a platform must have.


def _left_out(name: str, platform: Platform[Any]) -> set[str]:
    """What a platform does not say of itself, in the words of `platforms/base.py`."""
    missing = {one for one in Platform.__annotations__ if not hasattr(platform, one)}
    if "name" not in missing and platform.name != name:
        missing.add("name")
    if "errors" not in missing:
        missing |= {
            f"{error.__name__}.action"
            for error in _subclasses(platform.errors)
            if not isinstance(getattr(error, "action", None), Action)
        }
    missing |= {code for code in platform.codes() if platform.meaning(code) is None}
    return missing


def _subclasses(error: type[PlatformError]) -> Iterator[type[PlatformError]]:
    for one in error.__subclasses__():
        yield one
        yield from _subclasses(one)


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_platform_leaves_nothing_out(name: str) -> None:
    """An upload stops in the middle, since the platform lacks a rule or an error an action."""
    assert _left_out(name, registry.platform(name)) == set()


def test_a_platform_that_leaves_something_out_is_found() -> None:
    """The test above passes whatever a new platform forgets."""
    meta: Any = type(registry.platform("meta"))

    class ErrorOfHaste(PlatformError):
        """The root of the tree."""

    class ErrorWithoutAction(ErrorOfHaste):
        """Says nothing."""

    class Hasty(meta):  # type: ignore[misc]
        name = "hasty"
        errors = ErrorOfHaste

        def codes(self) -> list[str]:
            return ["100", "a code that nothing explains"]

    assert _left_out("other", Hasty()) == {
        "name", "ErrorWithoutAction.action", "a code that nothing explains",
    }  # fmt: skip
    with pytest.raises(TypeError, match="deadline"):
        type("Empty", (Platform,), {})()


@pytest.mark.parametrize("error", [EventsRefused, QuotaReached, StatusGone])
def test_errors_of_every_platform_have_an_action(error: type[PlatformError]) -> None:
    """An upload stops with an exception where a platform's answer should decide."""
    assert isinstance(error.action, Action)


def test_no_library_of_a_platform_is_imported_before_it_is_used() -> None:
    """Each process and command waits seconds for libraries that it does not use."""
    program = (
        "import sys; from tributary.platforms import registry, meanings\n"
        "for name in registry.names(): meanings.meaning(name, 'x')\n"
        "slow = {'google', 'grpc', 'facebook_business', 'posthog', 'requests', 'airflow', "
        "'psycopg', 'pandas'}\n"
        "print(*slow & {one.partition('.')[0] for one in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


# An unknown platform is an error everywhere.


BRAND = Brand.model_validate(
    {"slug": "acme", "name": "Acme", "reporting_currency": "USD", "time_zone": "UTC"}
)


def _destination(platform: str) -> destinations.Destination:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    brand = Brand.model_validate(
        {"slug": "acme", "name": "Acme", "reporting_currency": "USD", "time_zone": "UTC"}
    )
    return destinations.Destination(
        "acme-x", platform, "x_acme", True, moment, {}, uuid4(), "acme", brand
    )


def _event() -> Any:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    return {
        "kind": "conversion", "event_name": "Purchase", "event_time": moment, "is_test": False,
        "consent": {}, "user_hashes": {}, "action_source": "website",
    }  # fmt: skip


@pytest.mark.parametrize(
    "use",
    [
        lambda one: registry.platform(one.platform),
        lambda one: registry.hook_class(one.platform),
        lambda one: meanings.meaning(one.platform, "accepted"),
        lambda one: meanings.meaning(one.platform, None),
        lambda one: one.is_for_tests,
        lambda one: one.not_taken(_event()),
        lambda one: destinations.longest_age([one]),
        lambda one: destinations.first_state(_event(), one, datetime(2026, 1, 3, tzinfo=UTC)),
        lambda one: upload.upload("postgresql://unused", one, lambda: SimpleNamespace()),  # type: ignore[arg-type,return-value]
    ],
)
def test_an_unknown_platform_is_an_error(use: Callable[[destinations.Destination], Any]) -> None:
    """A platform without rules gets another's: wrong deadlines, wrong deduplication."""
    with pytest.raises(SettingsError, match="There is no destination platform 'tiktok': it is one"):
        use(_destination("tiktok"))


def test_the_longest_age_is_that_of_the_most_patient_platform() -> None:
    """Transactions that a platform still takes are not read from the user's view."""
    meta = _destination("meta")
    assert destinations.longest_age([]) == timedelta(0)
    assert destinations.longest_age([meta]) == timedelta(days=62)
    both = [meta, replace(meta, platform="google_ads")]
    assert destinations.longest_age(both) == timedelta(days=90)


# What outcomes and codes mean.


def _shared() -> Iterator[str]:
    """Outcomes that the code writes: in verdicts, rules, labels of errors, statements."""
    for path in sorted((config.ROOT / "include").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            yield from _of(node)


def _of(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Call(func=ast.Name("Verdict"), args=[_, outcome, *_]):
            yield from _texts(outcome)
        case ast.FunctionDef(name="flaw" | "not_taken" | "label"):
            for one in ast.walk(node):
                if isinstance(one, ast.Return) and one.value is not None:
                    yield from _texts(one.value)
        case ast.Assign(targets=[ast.Name("outcome" | "label")], value=value):
            yield from _texts(value)
        case ast.Assign(targets=[ast.Attribute(attr="label")], value=value):
            yield from _texts(value)
        case ast.Assign(targets=[ast.Tuple(names)], value=ast.Tuple(values)):
            for name, value in zip(names, values, strict=True):
                if isinstance(name, ast.Name) and name.id == "outcome":
                    yield from _texts(value)
        case ast.Constant(value=str(text)) if "conversion_deliveries" in text:
            for found in _IN_SQL.findall(text):
                yield from _QUOTED.findall(found)


def _texts(value: ast.expr) -> Iterator[str]:
    match value:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from (*_texts(body), *_texts(orelse))


SHARED = sorted({text for text in _shared() if "/" not in text})


def test_outcomes_are_found_where_they_are_written() -> None:
    """An outcome is written in a way that the next test does not see."""
    assert set(SHARED) >= {
        "accepted", "confirmed", "duplicate", "unmatched", "attempts", "outcome_unknown", "expired",
        "no_consent", "unaddressable", "not_mapped", "not_adjustable", "test", "inactive",
        "cancelled", "original_not_sent", "superseded", "before_send_from", "by_hand", "erased",
        "website_fields", "currency_missing", "same_id_in_request", "unreachable", "no_answer",
        "not_received", "quota", "status_gone",
    }  # fmt: skip


@pytest.mark.parametrize("outcome", SHARED)
def test_every_outcome_is_explained(outcome: str) -> None:
    """A person reads "a code of the platform's own" for an outcome that this project writes."""
    for platform in PLATFORMS:
        for status in ("sent", "failed", "skipped", "dead"):
            assert meanings.meaning(platform, outcome, status) != meanings.UNKNOWN


def _codes() -> Iterator[tuple[str, str]]:
    """Codes beside those that `Platform.codes` names."""
    for platform in ("google_data_manager", "google_ads"):
        yield from ((platform, status.name) for status in grpc.StatusCode if status.value[0])
    yield "google_data_manager", "INVALID_GBRAID, INVALID_GCLID"  # both have the same meaning
    for status in HTTPStatus:
        yield from ((platform, f"http_{status.value}") for platform in PLATFORMS)


def test_every_code_of_a_platform_is_explained() -> None:
    """A person is sent to a platform's documentation for a code that has a rule here."""
    unexplained = {one for one in _codes() if meanings.meaning(*one) == meanings.UNKNOWN}
    assert unexplained == set()
    assert meanings.meaning("meta", "4711/1") == meanings.UNKNOWN
    assert meanings.meaning("google_ads", "a_new_error.SOMETHING") == meanings.UNKNOWN


def test_every_error_table_is_walked() -> None:
    """A table is left out of `Platform.codes`, and its codes have no meaning."""
    from tributary.platforms.google import errors as google
    from tributary.platforms.meta import errors as meta

    manager = set(registry.platform("google_data_manager").codes())
    assert manager == {*google.FAST_FAIL, *google.PROCESSING, *google.STATUSES}
    ads = set(registry.platform("google_ads").codes())
    assert {code for code in google.ADS if not code.endswith("*")} <= ads
    assert {code.partition(".")[0] for code in google.ADS} <= {c.partition(".")[0] for c in ads}
    assert len(set(registry.platform("meta").codes())) == len(meta.POLICY)
