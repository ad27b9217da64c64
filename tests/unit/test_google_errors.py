"""Every error that Google's two libraries know has one meaning; others are reported."""

import pytest
from google.ads.datamanager_v1 import types as dm
from google.ads.googleads.v26.errors.types.errors import ErrorCode
from tributary.platforms.google import errors
from tributary.platforms.google.errors import ErrorKind

_CATEGORIES = {
    field.name: [value.name for value in field.enum_type.values]
    for field in ErrorCode.pb(ErrorCode()).DESCRIPTOR.fields
}
# What requests of ours can be answered with; the other categories belong to other services.
OURS = {
    "conversion_upload_error", "conversion_adjustment_upload_error", "quota_error",
    "internal_error", "authentication_error", "authorization_error", "request_error",
    "header_error", "customer_error", "database_error", "date_error", "field_error",
    "string_format_error", "string_length_error", "enum_error", "range_error", "id_error",
    "currency_code_error", "user_data_error", "partial_failure_error", "not_allowlisted_error",
    "query_error", "click_view_error", "size_limit_error", "operation_access_denied_error",
    "resource_access_denied_error", "null_error", "not_empty_error", "mutate_error",
}  # fmt: skip


def test_every_reason_of_data_manager_has_one_rule() -> None:
    """A reason has a guessed rule, or a rule is for a name that does not exist."""
    assert set(errors.FAST_FAIL) == {reason.name for reason in dm.ErrorReason}
    reasons = {errors.reason_of(reason.name) for reason in dm.ProcessingErrorReason}
    assert set(errors.PROCESSING) == reasons
    for reason in dm.ErrorReason:
        unknown = reason.name == "ERROR_REASON_UNSPECIFIED"
        assert (errors.fast_fail(reason.name) is ErrorKind.UNKNOWN) == unknown
    for reason in dm.ProcessingErrorReason:
        unknown = reason.name == "PROCESSING_ERROR_REASON_UNSPECIFIED"
        assert (errors.processing(reason.name) is ErrorKind.UNKNOWN) == unknown


def test_every_error_of_the_ads_api_has_one_action() -> None:
    """An error that our requests can meet has a guessed rule."""
    assert set(_CATEGORIES) >= OURS
    for category, names in _CATEGORIES.items():
        for name in names:
            do = errors.ads(f"{category}.{name}")
            assert isinstance(do, ErrorKind)
            if category in OURS and name not in ("UNSPECIFIED", "UNKNOWN"):
                assert do is not ErrorKind.UNKNOWN, f"{category}.{name}"
    for code in errors.ADS:
        category, _, name = code.partition(".")
        assert name == "*" or name in _CATEGORIES[category], code
        assert category in _CATEGORIES


def test_what_nobody_knows_is_told() -> None:
    """A new code is retried without end, or dropped."""
    assert errors.ads("conversion_upload_error.SOMETHING_NEW") is ErrorKind.UNKNOWN
    assert errors.ads("a_new_error.SOMETHING") is ErrorKind.UNKNOWN
    assert (
        errors.fast_fail("SOMETHING_NEW") is errors.processing("SOMETHING_NEW") is ErrorKind.UNKNOWN
    )
    assert isinstance(
        errors.request_error(ErrorKind.UNKNOWN, "X", "said", "who"), errors.GoogleUnknown
    )


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("The value 'ann@example.com' is wrong", "The value … is wrong"),
        ("Bad ann.smith@example.com here", "Bad … here"),
        ("hash 6915771be1c5d4e2a3b1c0d9e8f7a6b5 is no SHA-256", "hash … is no SHA-256"),
        ("number +1 650 555 1212 given", "number … given"),
        ("The click id Cj0KCQiA1b2c3d4e5f6 is not known", "The click id … is not known"),
        ("CUSTOMER_NOT_ENABLED_ENHANCED", "CUSTOMER_NOT_ENABLED_ENHANCED"),
    ],
)
def test_data_of_people_is_not_repeated(said: str, kept: str) -> None:
    """An e-mail, phone, hash or click id that Google quotes is written to a log."""
    assert errors.redacted(said) == kept
