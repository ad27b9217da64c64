"""The errors of Google's two conversion APIs, and what to do about each.

GoogleError                  code, HTTP status, request id; never a token or a person's data
├── GoogleTransient          an outage or a lost answer: the same again, Google drops duplicates
│   └── GoogleUnreachable    the request never left
├── GoogleThrottled          a quota is used up: wait `wait` seconds (None: no hint was given)
├── GoogleTokenRefused       refresh token or service account have ended: a person must renew them
│   └── GoogleAccessRefused  the access token alone is refused: get a new one, once
├── GoogleForbidden          permission, terms or a conversion action: a person must act
│   └── GoogleNotAllowed     this account may not upload over the Ads API: use Data Manager
├── GoogleEventsRefused      some events of the request are wrong (`flaws`), none was taken
├── GoogleRefused            the request itself is wrong
├── GoogleStatusGone         Google keeps no status of that request (any more)
└── GoogleUnknown            a code that has no rule here: a few tries, and an alert

`FAST_FAIL`, `PROCESSING` and `ADS` are the tables from code to `ErrorKind`. Sources: the texts
beside the values of `google.ads.datamanager_v1.ErrorReason` and `.ProcessingErrorReason`, and of
`google.ads.googleads.v26.errors`; a test walks all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from tributary.platforms.base import Action, PlatformError, StatusGone


class ErrorKind(Enum):
    """What a code means, and what to do."""

    DUPLICATE = "Google has the event already: it is delivered"
    UNMATCHED = "no click of a Google ad is known: an end, and not an error"
    TRY_IN_6_HOURS = "too recent: send it again after 6 hours"
    TRY_IN_24_HOURS = "too recent: send it again after 24 hours"
    TRANSIENT = "a temporary failure: send the same again"
    THROTTLED = "a quota is used up: wait as long as Google says"
    FORBIDDEN = "account, permission or conversion action: a person must act"
    NOT_ALLOWED = "this account may not use the Ads API: a person must move to Data Manager"
    INVALID_EVENT = "this event will never be taken"
    NO_CONSENT = "the person's consent does not allow it"
    INVALID_REQUEST = "the request is put together wrongly: find out which part of it"
    STATUS_GONE = "Google keeps no status of that request"
    UNKNOWN = "a code without a rule: a few tries, and an alert"


class Flaw(NamedTuple):
    """What is wrong with one event of a request."""

    code: str
    message: str  # Google's, without data of people
    kind: ErrorKind


class GoogleError(PlatformError):
    """An answer of Google that is not the one hoped for."""

    label = "no_answer"

    def __init__(
        self,
        text: str,
        *,
        code: str | None = None,
        http_status: int | None = None,
        trace_id: str | None = None,
        wait: float | None = None,
    ) -> None:
        label = [code] if code else []
        label += [f"HTTP {http_status}"] if http_status else []
        label += [f"request {trace_id}"] if trace_id else []
        super().__init__(f"{text} ({', '.join(label)})" if label else text)
        self.code = code
        self.http_status = http_status
        self.trace_id = trace_id
        self.wait = wait
        # For tables: `quota_error.RESOURCE_EXHAUSTED`, `http_502`, or what happened.
        if code:
            self.label = code
        elif http_status not in (None, 200):
            self.label = f"http_{http_status}"


class GoogleTransient(GoogleError):
    """An outage, a dropped connection or an unreadable answer; it may have been carried out."""

    action = Action.RETRY
    retryable = True


class GoogleUnreachable(GoogleTransient):
    """No connection came about: nothing can have been carried out."""

    action = Action.HOLD
    label = "unreachable"


class GoogleThrottled(GoogleError):
    """A quota of the project, the token or the account is used up."""

    action = Action.HOLD
    is_throttle = True
    retryable = True
    tries = 40


class GoogleTokenRefused(GoogleError):
    """The credentials of the connection have ended or were revoked."""

    action = Action.PAUSE


class GoogleAccessRefused(GoogleTokenRefused):
    """An access token is refused before its time."""


class GoogleForbidden(GoogleError):
    """Something that only the owner of the account can allow or set right."""

    action = Action.PAUSE

    @property
    def blocks_account(self) -> bool:
        """Where Google prohibits access altogether."""
        return self.code == "quota_error.ACCESS_PROHIBITED"


class GoogleNotAllowed(GoogleForbidden):
    """Conversions over the Google Ads API are closed to those who did not use it before."""


class GoogleEventsRefused(GoogleError):
    """Data Manager takes nothing of a request in which events are wrong; it names all of them."""

    action = Action.DROP

    def __init__(self, text: str, *, flaws: Mapping[int, Flaw], **more: object) -> None:
        super().__init__(text, **more)  # type: ignore[arg-type]
        self.flaws = flaws  # by index in the request


class GoogleRefused(GoogleError):
    """A request that Google will never answer."""

    action = Action.ISOLATE


class GoogleStatusGone(GoogleError, StatusGone):
    """Google does not know, or no longer knows, the status of a request."""


class GoogleUnknown(GoogleError):
    """A code without a rule."""

    action = Action.ISOLATE
    is_unknown_code = True


CLASSES: dict[ErrorKind, type[GoogleError]] = {
    ErrorKind.TRANSIENT: GoogleTransient,
    ErrorKind.THROTTLED: GoogleThrottled,
    ErrorKind.TRY_IN_6_HOURS: GoogleThrottled,
    ErrorKind.TRY_IN_24_HOURS: GoogleThrottled,
    ErrorKind.FORBIDDEN: GoogleForbidden,
    ErrorKind.NOT_ALLOWED: GoogleNotAllowed,
    ErrorKind.STATUS_GONE: GoogleStatusGone,
    ErrorKind.UNKNOWN: GoogleUnknown,
}  # a whole request's; every other one is a GoogleRefused
# Seconds: "try again in 6 hours", "at least 24 hours ago" in the texts beside the codes.
WAITS = {ErrorKind.TRY_IN_6_HOURS: 6 * 3600.0, ErrorKind.TRY_IN_24_HOURS: 24 * 3600.0}

_SENTENCES = {
    ErrorKind.TRANSIENT: "Google had a temporary failure: {message}",
    ErrorKind.THROTTLED: "Google throttles {who}: {message}",
    ErrorKind.TRY_IN_6_HOURS: "Google wants {who} to come back after 6 hours: {message}",
    ErrorKind.TRY_IN_24_HOURS: "Google wants {who} to come back after 24 hours: {message}",
    ErrorKind.FORBIDDEN: "Google refuses {who}; its owner must set this right in Google Ads or in "
    "the settings file. Google said: {message}",
    ErrorKind.NOT_ALLOWED: "Google does not let {who} upload conversions over the Google Ads API: "
    "since June 2026 it is open only to those who used it before. Give the destination the "
    "platform google_data_manager in the settings file, with a connection of that type. Google "
    "said: {message}",
    ErrorKind.STATUS_GONE: "Google keeps no status of this request: {message}",
    ErrorKind.UNKNOWN: "Google answered with a code that this project has no rule for; report it "
    "to the maintainers. Google said: {message}",
}


def request_error(
    kind: ErrorKind,
    code: str,
    message: str,
    who: str,
    *,
    http_status: int | None = None,
    trace_id: str | None = None,
    wait: float | None = None,
) -> GoogleError:
    """The exception for an error that concerns a whole request.

    Args:
        message: Google's words; what may be data of a person is taken out.
        who: whose credentials were used, for the sentence that a person reads.
        wait: seconds that Google asked to wait, if it did.
    """
    sentence = _SENTENCES.get(kind, "Google refuses the request: {message}")
    return CLASSES.get(kind, GoogleRefused)(
        sentence.format(who=who, message=redacted(message)),
        code=code,
        http_status=http_status,
        trace_id=trace_id,
        wait=wait if kind is ErrorKind.THROTTLED else WAITS.get(kind),
    )


def most_severe(flaws: Sequence[Flaw]) -> Flaw:
    """Of several things that are wrong with one event, the one that decides."""
    return min(flaws, key=lambda flaw: _BY_SEVERITY.index(flaw.kind))


_BY_SEVERITY = [
    ErrorKind[name]
    for name in (
        "NOT_ALLOWED", "FORBIDDEN", "THROTTLED", "INVALID_EVENT", "NO_CONSENT", "INVALID_REQUEST",
        "UNKNOWN", "TRY_IN_24_HOURS", "TRY_IN_6_HOURS", "TRANSIENT", "UNMATCHED", "DUPLICATE",
        "STATUS_GONE",
    )
]  # fmt: skip

# Google quotes values, between quotation marks or bare: e-mails, hashes, click ids, numbers.
_SECRETIVE = re.compile(
    r"'[^']*'|\"[^\"]*\"|\S*@\S*|\b(?=\w*\d)[\w+/=-]{16,}|[\w+/=-]{40,}|\+?\d[\d\s().-]{5,}\d"
)


def redacted(text: str) -> str:
    """Google's words without anything that may be data of a person; at most 200 characters."""
    return _SECRETIVE.sub("…", text)[:200]


def _table(groups: Mapping[ErrorKind, str]) -> dict[str, ErrorKind]:
    pairs = [(name, kind) for kind, names in groups.items() for name in names.split()]
    table = dict(pairs)
    assert len(table) == len(pairs), "a code is in two groups"
    return table


# Why `events:ingest` refuses: reasons of one event, of a destination or of the whole request.
FAST_FAIL = _table(
    {
        ErrorKind.TRANSIENT: "INTERNAL_ERROR DEADLINE_EXCEEDED",
        ErrorKind.THROTTLED: "RESOURCE_EXHAUSTED",
        ErrorKind.TRY_IN_6_HOURS: "CONVERSION_ACTION_TOO_RECENTLY_CREATED",
        ErrorKind.STATUS_GONE: "INVALID_REQUEST_ID REQUEST_TOO_OLD",
        ErrorKind.FORBIDDEN: """
            NOT_FOUND PERMISSION_DENIED INVALID_DESTINATION TERMS_AND_CONDITIONS_NOT_SIGNED
            INVALID_CONVERSION_ACTION_ID INVALID_CONVERSION_ACTION_TYPE
            DESTINATION_ACCOUNT_NOT_ENABLED_ENHANCED_CONVERSIONS_FOR_LEADS
            DESTINATION_ACCOUNT_DATA_POLICY_PROHIBITS_ENHANCED_CONVERSIONS
            DESTINATION_ACCOUNT_ENHANCED_CONVERSIONS_TERMS_NOT_SIGNED
            OPERATING_ACCOUNT_LOGIN_ACCOUNT_MISMATCH NOT_ALLOWLISTED
            DESTINATION_ACCOUNT_TYPE_MISMATCH EVENT_SOURCE_AND_DESTINATION_MISMATCH
            CUSTOM_VARIABLE_NOT_ENABLED CUSTOM_VARIABLE_NOT_FOUND
            REQUIRED_PREREQUISITE_LINK_MISSING
            EU_POLITICAL_ADVERTISING_DECLARATION_REQUIRED ACCOUNT_INELIGIBLE_FOR_STORE_SALES
            LINKED_ACCOUNT_ONLY_ALLOWED_WITH_DATA_PARTNER_LOGIN_ACCOUNT MISMATCHED_ACCOUNT_TYPE
            UNSUPPORTED_OPERATING_ACCOUNT_FOR_DATA_PARTNER
            UNSUPPORTED_LINKED_ACCOUNT_FOR_DATA_PARTNER INVALID_PROPERTY_TYPE INVALID_STREAM_TYPE
            INVALID_MERCHANT_ID GOOGLE_ANALYTICS_SUBPROPERTY_OR_ROLLUP_PROPERTY_NOT_ALLOWED""",
        ErrorKind.INVALID_EVENT: """
            REQUIRED_FIELD_MISSING INVALID_FORMAT INVALID_HEX_ENCODING INVALID_BASE64_ENCODING
            INVALID_SHA256_FORMAT INVALID_POSTAL_CODE INVALID_COUNTRY_CODE INVALID_ENUM_VALUE
            TOO_MANY_USER_IDENTIFIERS INVALID_NUMBER_FORMAT INVALID_CURRENCY_CODE INVALID_EVENT
            NO_IDENTIFIERS_PROVIDED EVENT_TIME_INVALID RESERVED_NAME_USED INVALID_EVENT_NAME
            FIELD_VALUE_TOO_LONG FIELD_VALUE_TOO_SHORT CUSTOM_VARIABLE_VALUE_CONTAINS_PII
            INVALID_CUSTOM_VARIABLE_VALUE INVALID_REGION_CODE INVALID_SUBDIVISION_CODE
            INVALID_SUBCONTINENT_CODE INVALID_CONTINENT_CODE INVALID_DEVICE_CATEGORY
            INVALID_MOBILE_ID_FORMAT BOTH_CLIENT_ID_AND_APP_INSTANCE_ID_NOT_ALLOWED
            THIRD_PARTY_USER_DATA_NOT_ALLOWED INVALID_COUPON_CODE
            INVALID_AD_IDENTIFIER_FOR_ACCOUNT INVALID_MERCHANT_FEED_LANGUAGE_CODE""",
        # The request as a whole, or something that only requests of other kinds can hold.
        ErrorKind.INVALID_REQUEST: """
            INVALID_ARGUMENT TOO_MANY_EVENTS TOO_MANY_DESTINATIONS DUPLICATE_DESTINATION_REFERENCE
            TOO_MANY_ELEMENTS TOO_FEW_ELEMENTS MULTIPLE_DATA_TYPES_NOT_ALLOWED
            DIFFERENT_LOGIN_ACCOUNTS_NOT_ALLOWED_FOR_DATA_PARTNER
            MULTIPLE_DESTINATIONS_FOR_GOOGLE_ANALYTICS_EVENT
            INVALID_USER_LIST_TYPE INVALID_AUDIENCE_MEMBER TOO_MANY_AUDIENCE_MEMBERS
            DATA_PARTNER_USER_LIST_MUTATE_NOT_ALLOWED INVALID_USER_LIST_ID ALREADY_EXISTS
            IMMUTABLE_FIELD_FOR_UPDATE INVALID_RESOURCE_NAME INVALID_FILTER INVALID_UPDATE_MASK
            INVALID_PAGE_TOKEN CANNOT_UPDATE_DISABLED_LICENSE
            CANNOT_CREATE_LICENSE_FOR_SENSITIVE_USERLIST INSUFFICIENT_COST CANNOT_DISABLE_LICENSE
            INVALID_CLIENT_ACCOUNT_ID PRICING_ONLY_ZERO_COST_ALLOWED PRICE_TOO_HIGH
            CUSTOMER_NOT_ALLOWED_TO_CREATE_LICENSE INVALID_PRICING_END_DATE
            CANNOT_LICENSE_LOGICAL_LIST_WITH_LICENSED_OR_SHARED_SEGMENT
            MEDIA_SHARE_COST_NOT_ALLOWED_FOR_LICENSE_TYPE
            MEDIA_SHARE_COST_NOT_ALLOWED_FOR_CLIENT_CUSTOMER INVALID_MEDIA_SHARE_COST
            INVALID_COST_TYPE MEDIA_SHARE_COST_NOT_ALLOWED_FOR_NON_COMMERCE_USER_LIST
            MAX_COST_NOT_ALLOWED COMMERCE_AUDIENCE_CAN_ONLY_BE_DIRECTLY_LICENSED
            INVALID_DESCRIPTION INVALID_DISPLAY_NAME DISPLAY_NAME_ALREADY_USED
            OWNERSHIP_REQUIRED_FOR_UPDATE USER_LIST_MUTATION_NOT_SUPPORTED
            SENSITIVE_USER_LIST_IMMUTABLE BILLABLE_RECORD_COUNT_IMMUTABLE USER_LIST_NAME_RESERVED
            ADVERTISER_NOT_ALLOWLISTED_FOR_UPLOADED_DATA UNSUPPORTED_PARTNER_AUDIENCE_SOURCE
            COMMERCE_PARTNER_NOT_ALLOWED UNSUPPORTED_PARTNER_AUDIENCE_INFO
            PARTNER_MATCH_FOR_MANAGER_ACCOUNT_DISALLOWED
            DATA_PARTNER_NOT_ALLOWLISTED_FOR_THIRD_PARTY_PARTNER_DATA ADVERTISER_TOS_NOT_ACCEPTED
            ADVERTISER_NOT_ALLOWLISTED_FOR_THIRD_PARTY_PARTNER_DATA
            USER_LIST_TYPE_NOT_SUPPORTED_FOR_ACCOUNT INVALID_COMMERCE_PARTNER
            CUSTOMER_NOT_ALLOWLISTED_FOR_COMMERCE_AUDIENCE UNSUPPORTED_USER_LIST_UPLOAD_KEY_TYPES
            UNSUPPORTED_INGESTED_USER_LIST_INFO_CONFIG
            UNSUPPORTED_ACCOUNT_TYPES_FOR_USER_LIST_TYPE
            UNSUPPORTED_ACCOUNT_TYPE_FOR_PARTNER_LINK MEMBERSHIP_DURATION_TOO_LONG TOO_MANY_USERS
            BASELINE_LOCATION_AUTO_DETECTION_FAILED INSIGHTS_MISSING_FOR_DIMENSION
            INVALID_REMOVE_AS_OF_TIME""",
        ErrorKind.UNKNOWN: "ERROR_REASON_UNSPECIFIED",
    }
)

# How events that were taken were processed, in counts; the enum's prefix is left out.
PROCESSING = _table(
    {
        ErrorKind.DUPLICATE: "DUPLICATE_GCLID DUPLICATE_TRANSACTION_ID",
        ErrorKind.TRY_IN_6_HOURS: "TOO_RECENT_CLICK",
        ErrorKind.TRANSIENT: "INTERNAL_ERROR",
        ErrorKind.NO_CONSENT: "DENIED_CONSENT NO_CONSENT UNKNOWN_CONSENT",
        ErrorKind.UNMATCHED: """
            CLICK_NOT_FOUND INVALID_CLICK USER_ID_NOT_FOUND USER_ID_NOT_FOUND_FOR_GCLID
            ORIGINAL_CONVERSIONS_NOT_FOUND MATCH_ID_NOT_FOUND USER_ID_NOT_FOUND_FOR_MATCH_ID
            USER_ID_NOT_FOUND_FOR_DCLID USER_ID_NOT_FOUND_FOR_IMPRESSION_ID""",
        ErrorKind.FORBIDDEN: """
            DESTINATION_ACCOUNT_ENHANCED_CONVERSIONS_TERMS_NOT_SIGNED CUSTOM_VARIABLE_NOT_ENABLED
            ONE_PER_CLICK_CONVERSION_ACTION_NOT_PERMITTED_WITH_BRAID
            EXTERNAL_ATTRIBUTION_DATA_MISSING
            INVALID_WIP INVALID_KEK WIP_AUTH_FAILED KEK_PERMISSION_DENIED AWS_AUTH_FAILED
            INVALID_MERCHANT_ID""",
        ErrorKind.INVALID_EVENT: """
            INVALID_CUSTOM_VARIABLE EVENT_TOO_OLD INVALID_GBRAID INVALID_GCLID INVALID_WBRAID
            INVALID_EVENT INSUFFICIENT_MATCHED_TRANSACTIONS INSUFFICIENT_TRANSACTIONS INVALID_FORMAT
            DECRYPTION_ERROR DEK_DECRYPTION_ERROR USER_IDENTIFIER_DECRYPTION_ERROR
            OPERATING_ACCOUNT_MISMATCH_FOR_AD_IDENTIFIER INVALID_AD_IDENTIFIERS
            INVALID_MOBILE_ID_FORMAT EVENT_ID_DECODE_ERROR CONVERSION_PRECEDES_CLICK
            INVALID_OPERATING_ACCOUNT_FOR_CLICK""",
        ErrorKind.UNKNOWN: "UNSPECIFIED",
    }
)

# `category.NAME` as `GoogleAdsError.error_code` has it; `category.*` for the rest of a category.
ADS = _table(
    {
        ErrorKind.DUPLICATE: """
            conversion_upload_error.ORDER_ID_ALREADY_IN_USE
            conversion_upload_error.CLICK_CONVERSION_ALREADY_EXISTS
            conversion_upload_error.CALL_CONVERSION_ALREADY_EXISTS
            conversion_adjustment_upload_error.CONVERSION_ALREADY_ENHANCED
            conversion_adjustment_upload_error.CONVERSION_ALREADY_RETRACTED
            conversion_adjustment_upload_error.RESTATEMENT_ALREADY_EXISTS
            conversion_adjustment_upload_error.MORE_RECENT_RESTATEMENT_FOUND""",
        ErrorKind.TRY_IN_6_HOURS: """
            conversion_upload_error.TOO_RECENT_EVENT
            conversion_upload_error.TOO_RECENT_CONVERSION_ACTION
            conversion_upload_error.TOO_RECENT_CALL
            conversion_adjustment_upload_error.TOO_RECENT_CONVERSION_ACTION""",
        ErrorKind.TRY_IN_24_HOURS: """
            conversion_adjustment_upload_error.TOO_RECENT_CONVERSION
            conversion_adjustment_upload_error.CONVERSION_NOT_FOUND""",
        ErrorKind.UNMATCHED: """
            conversion_upload_error.EVENT_NOT_FOUND conversion_upload_error.CLICK_NOT_FOUND
            conversion_upload_error.CALL_NOT_FOUND""",
        ErrorKind.TRANSIENT: "internal_error.* database_error.CONCURRENT_MODIFICATION",
        ErrorKind.THROTTLED: """
            quota_error.RESOURCE_EXHAUSTED quota_error.RESOURCE_TEMPORARILY_EXHAUSTED
            quota_error.EXCESSIVE_SHORT_TERM_QUERY_RESOURCE_CONSUMPTION
            quota_error.EXCESSIVE_LONG_TERM_QUERY_RESOURCE_CONSUMPTION
            quota_error.PAYMENTS_PROFILE_ACTIVATION_RATE_LIMIT_EXCEEDED""",
        ErrorKind.NOT_ALLOWED: "not_allowlisted_error.CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE",
        ErrorKind.FORBIDDEN: """
            conversion_upload_error.CUSTOMER_DATA_POLICY_PROHIBITS_ENHANCED_CONVERSIONS
            conversion_upload_error.CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS
            conversion_upload_error.CUSTOMER_NOT_ENABLED_ENHANCED_CONVERSIONS_FOR_LEADS
            conversion_upload_error.NO_CONVERSION_ACTION_FOUND
            conversion_upload_error.INVALID_CONVERSION_ACTION_TYPE
            conversion_upload_error.CUSTOM_VARIABLE_NOT_ENABLED
            conversion_upload_error.EXTERNAL_ATTRIBUTION_DATA_SET_FOR_NON_EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION
            conversion_upload_error.EXTERNAL_ATTRIBUTION_DATA_NOT_SET_FOR_EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION
            conversion_upload_error.ORDER_ID_NOT_PERMITTED_FOR_EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION
            conversion_upload_error.EXTERNALLY_ATTRIBUTED_CONVERSION_ACTION_NOT_PERMITTED_WITH_USER_IDENTIFIER
            conversion_upload_error.ONE_PER_CLICK_CONVERSION_ACTION_NOT_PERMITTED_WITH_BRAID
            conversion_adjustment_upload_error.CUSTOMER_NOT_ACCEPTED_CUSTOMER_DATA_TERMS
            conversion_adjustment_upload_error.CONVERSION_ACTION_NOT_ELIGIBLE_FOR_ENHANCEMENT
            conversion_adjustment_upload_error.CUSTOMER_DATA_POLICY_PROHIBITS_ENHANCEMENT
            conversion_adjustment_upload_error.NO_CONVERSION_ACTION_FOUND
            conversion_adjustment_upload_error.INVALID_CONVERSION_ACTION_TYPE
            conversion_adjustment_upload_error.CANNOT_RESTATE_CONVERSION_ACTION_THAT_ALWAYS_USES_DEFAULT_CONVERSION_VALUE
            quota_error.ACCESS_PROHIBITED authentication_error.* authorization_error.*
            header_error.* customer_error.* operation_access_denied_error.*
            resource_access_denied_error.* identity_verification_error.*
            request_error.INVALID_CUSTOMER_ID request_error.LOGIN_CUSTOMER_ID_PARAMETER_MISSING
            request_error.DEVELOPER_TOKEN_PARAMETER_MISSING
            request_error.CANNOT_BE_EXECUTED_BY_MANAGER_ACCOUNT
            request_error.CLOUD_PROJECT_NOT_FOUND request_error.UNSUPPORTED_VERSION""",
        ErrorKind.INVALID_EVENT: """
            conversion_upload_error.UNAUTHORIZED_CUSTOMER conversion_upload_error.UNPARSEABLE_GCLID
            conversion_upload_error.UNPARSEABLE_WBRAID conversion_upload_error.UNPARSEABLE_GBRAID
            conversion_upload_error.GBRAID_WBRAID_BOTH_SET
            conversion_upload_error.CONVERSION_PRECEDES_EVENT
            conversion_upload_error.CONVERSION_PRECEDES_CALL
            conversion_upload_error.EXPIRED_EVENT conversion_upload_error.EXPIRED_CALL
            conversion_upload_error.CONVERSION_TRACKING_NOT_ENABLED_AT_IMPRESSION_TIME
            conversion_upload_error.CONVERSION_TRACKING_NOT_ENABLED_AT_CALL_TIME
            conversion_upload_error.UNPARSEABLE_CALLERS_PHONE_NUMBER
            conversion_upload_error.CUSTOM_VARIABLE_VALUE_CONTAINS_PII
            conversion_upload_error.INVALID_CUSTOMER_FOR_CLICK
            conversion_upload_error.INVALID_CUSTOMER_FOR_CALL
            conversion_upload_error.CONVERSION_NOT_COMPLIANT_WITH_ATT_POLICY
            conversion_upload_error.INVALID_USER_IDENTIFIER
            conversion_upload_error.UNSUPPORTED_USER_IDENTIFIER
            conversion_upload_error.ORDER_ID_CONTAINS_PII
            conversion_adjustment_upload_error.CONVERSION_EXPIRED
            conversion_adjustment_upload_error.ADJUSTMENT_PRECEDES_CONVERSION
            conversion_adjustment_upload_error.TOO_MANY_ADJUSTMENTS
            conversion_adjustment_upload_error.INVALID_USER_IDENTIFIER
            conversion_adjustment_upload_error.UNSUPPORTED_USER_IDENTIFIER
            conversion_adjustment_upload_error.GCLID_DATE_TIME_PAIR_AND_ORDER_ID_BOTH_SET
            conversion_adjustment_upload_error.MISSING_ORDER_ID_FOR_WEBPAGE
            conversion_adjustment_upload_error.ORDER_ID_CONTAINS_PII
            date_error.* currency_code_error.* currency_error.* field_error.*
            string_format_error.* string_length_error.* enum_error.* range_error.* null_error.*
            id_error.* user_data_error.* distinct_error.* not_empty_error.*
            country_code_error.* region_code_error.* conversion_custom_variable_error.*
            request_error.REQUIRED_FIELD_MISSING request_error.RESOURCE_NAME_MISSING
            request_error.RESOURCE_NAME_MALFORMED request_error.BAD_RESOURCE_ID
            request_error.INVALID_ENUM_VALUE database_error.DATA_CONSTRAINT_VIOLATION""",
        ErrorKind.INVALID_REQUEST: """
            conversion_upload_error.TOO_MANY_CONVERSIONS_IN_REQUEST
            conversion_upload_error.INVALID_JOB_ID conversion_upload_error.DUPLICATE_ORDER_ID
            conversion_upload_error.DUPLICATE_CLICK_CONVERSION_IN_REQUEST
            conversion_upload_error.DUPLICATE_CALL_CONVERSION_IN_REQUEST
            conversion_adjustment_upload_error.TOO_MANY_ADJUSTMENTS_IN_REQUEST
            conversion_adjustment_upload_error.INVALID_JOB_ID
            conversion_adjustment_upload_error.DUPLICATE_ADJUSTMENT_IN_REQUEST
            conversion_adjustment_upload_error.DUPLICATE_ENHANCEMENT_IN_REQUEST
            partial_failure_error.* request_error.* query_error.* click_view_error.*
            date_range_error.* size_limit_error.* collection_size_error.* mutate_error.*
            context_error.* operator_error.* field_mask_error.* database_error.REQUEST_TOO_LARGE""",
        ErrorKind.UNKNOWN: """
            conversion_upload_error.UNSPECIFIED conversion_upload_error.UNKNOWN
            conversion_adjustment_upload_error.UNSPECIFIED
            conversion_adjustment_upload_error.UNKNOWN""",
    }
)


# What a gRPC status means where the answer has no code: https://grpc.io/docs/guides/status-codes
STATUSES = {
    **dict.fromkeys(
        ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "ABORTED", "CANCELLED",
         "DATA_LOSS"),
        ErrorKind.TRANSIENT,
    ),
    "RESOURCE_EXHAUSTED": ErrorKind.THROTTLED,
    "PERMISSION_DENIED": ErrorKind.FORBIDDEN,
    "NOT_FOUND": ErrorKind.FORBIDDEN,
    "FAILED_PRECONDITION": ErrorKind.FORBIDDEN,
    "INVALID_ARGUMENT": ErrorKind.INVALID_REQUEST,
    "OUT_OF_RANGE": ErrorKind.INVALID_REQUEST,
    "UNIMPLEMENTED": ErrorKind.FORBIDDEN,
    "UNAUTHENTICATED": ErrorKind.FORBIDDEN,
    "ALREADY_EXISTS": ErrorKind.INVALID_REQUEST,
}  # fmt: skip


def ads(code: str) -> ErrorKind:
    """What a code of the Google Ads API, such as `date_error.INVALID_STRING_DATE`, means.

    Categories of services that we do not call have no rule: `UNKNOWN`, as new codes have.
    """
    if code.rpartition(".")[2] in ("UNSPECIFIED", "UNKNOWN"):
        return ErrorKind.UNKNOWN
    return ADS.get(code) or ADS.get(f"{code.partition('.')[0]}.*", ErrorKind.UNKNOWN)


def fast_fail(reason: str) -> ErrorKind:
    """What a reason of Data Manager's `ErrorReason` means."""
    return FAST_FAIL.get(reason, ErrorKind.UNKNOWN)


def processing(reason: str) -> ErrorKind:
    """What a reason of Data Manager's `ProcessingErrorReason` means, prefix or not."""
    return PROCESSING.get(reason_of(reason), ErrorKind.UNKNOWN)


def reason_of(reason: str) -> str:
    """`PROCESSING_ERROR_REASON_DUPLICATE_GCLID` as `DUPLICATE_GCLID`."""
    return reason.removeprefix("PROCESSING_ERROR_").removeprefix("REASON_")
