"""What the errors of Google's two conversion APIs mean, and what each asks of us.

GoogleError                  code, HTTP status, request id; never a token or a person's data
├── GoogleTransient          an outage or a lost answer: the same again, Google drops duplicates
│   └── GoogleUnreachable    the request never left
├── GoogleThrottled          a quota is used up: wait `wait` seconds (None: no hint was given)
├── GoogleTokenRefused       refresh token or service account have ended: a person must renew them
│   └── GoogleAccessRefused  the access token alone is refused: get a new one, once
├── GoogleForbidden          permission, terms or a conversion action: a person must mend it
│   └── GoogleNotAllowed     this account may not upload over the Ads API: use Data Manager
├── GoogleEventsRefused      some events of the request are wrong (`flaws`), none was taken
├── GoogleRefused            the request itself is wrong
├── GoogleStatusGone         Google keeps no status of that request (any more)
└── GoogleUnknown            a code that nobody has told us of: a few tries, and an alert

`FAST_FAIL`, `PROCESSING` and `ADS` are the tables from code to `Do`. Sources: the texts beside the
values of `google.ads.datamanager_v1.ErrorReason` and `.ProcessingErrorReason`, and of
`google.ads.googleads.v26.errors`; a test walks all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from tributary.errors import TributaryError


class Do(Enum):
    """What a code asks of us."""

    DUPLICATE = "Google has the event already: it is delivered"
    UNMATCHED = "no click of a Google ad is known: an end, and not an error"
    LATER = "too recent: send it again after 6 hours"
    TOMORROW = "too recent: send it again after 24 hours"
    AGAIN = "a temporary failure: send the same again"
    SLOWER = "a quota is used up: wait as long as Google says"
    PAUSE = "account, permission or conversion action: a person must act"
    MOVE = "this account may not use the Ads API: a person must move to Data Manager"
    DEAD = "this event will never be taken"
    CONSENT = "the person's consent does not allow it"
    OURS = "the request is put together wrongly: find out which part of it"
    GONE = "Google keeps no status of that request"
    UNKNOWN = "a code without a rule: a few tries, and an alert"


class Flaw(NamedTuple):
    """What is wrong with one event of a request."""

    code: str
    said: str
    do: Do


class GoogleError(TributaryError):
    """An answer of Google that is not the one hoped for."""

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

    @property
    def label(self) -> str:
        """The code for tables: `quota_error.RESOURCE_EXHAUSTED`, `http_502`, or what happened."""
        if self.code:
            return self.code
        if self.http_status not in (None, 200):
            return f"http_{self.http_status}"
        return "unreachable" if isinstance(self, GoogleUnreachable) else "no_answer"


class GoogleTransient(GoogleError):
    """An outage, a dropped connection or an unreadable answer; it may have been carried out."""

    retryable = True


class GoogleUnreachable(GoogleTransient):
    """No connection came about: nothing can have been carried out."""


class GoogleThrottled(GoogleError):
    """A quota of the project, the token or the account is used up."""

    retryable = True
    tries = 40


class GoogleTokenRefused(GoogleError):
    """The credentials of the connection have ended or were revoked."""


class GoogleAccessRefused(GoogleTokenRefused):
    """An access token is refused before its time."""


class GoogleForbidden(GoogleError):
    """Something that only the owner of the account can allow or set right."""


class GoogleNotAllowed(GoogleForbidden):
    """Conversions over the Google Ads API are closed to those who did not use it before."""


class GoogleEventsRefused(GoogleError):
    """Data Manager takes nothing of a request in which events are wrong; it names all of them."""

    def __init__(self, text: str, *, flaws: Mapping[int, Flaw], **more: object) -> None:
        super().__init__(text, **more)  # type: ignore[arg-type]
        self.flaws = flaws  # by index in the request


class GoogleRefused(GoogleError):
    """A request that Google will never answer."""


class GoogleStatusGone(GoogleError):
    """The status of a request cannot be had."""


class GoogleUnknown(GoogleError):
    """A code without a rule."""


CLASSES: dict[Do, type[GoogleError]] = {
    Do.AGAIN: GoogleTransient,
    Do.SLOWER: GoogleThrottled,
    Do.LATER: GoogleThrottled,
    Do.TOMORROW: GoogleThrottled,
    Do.PAUSE: GoogleForbidden,
    Do.MOVE: GoogleNotAllowed,
    Do.GONE: GoogleStatusGone,
    Do.UNKNOWN: GoogleUnknown,
}  # a whole request's; every other one is a GoogleRefused
# Seconds: "try again in 6 hours", "at least 24 hours ago" in the texts beside the codes.
WAITS = {Do.LATER: 6 * 3600.0, Do.TOMORROW: 24 * 3600.0}

_SENTENCES = {
    Do.AGAIN: "Google had a temporary failure: {said}",
    Do.SLOWER: "Google throttles {who}: {said}",
    Do.LATER: "Google wants {who} to come back after 6 hours: {said}",
    Do.TOMORROW: "Google wants {who} to come back after 24 hours: {said}",
    Do.PAUSE: "Google refuses {who}; its owner must set this right in Google Ads or in the "
    "settings file. Google said: {said}",
    Do.MOVE: "Google does not let {who} upload conversions over the Google Ads API: since June "
    "2026 it is open only to those who used it before. Give the destination the platform "
    "google_data_manager in the settings file, with a connection of that type. Google said: {said}",
    Do.GONE: "Google keeps no status of this request: {said}",
    Do.UNKNOWN: "Google answered with a code that this project has no rule for; tell its "
    "maintainers. Google said: {said}",
}


def whole(
    do: Do,
    code: str,
    said: str,
    who: str,
    *,
    http_status: int | None = None,
    trace_id: str | None = None,
    wait: float | None = None,
) -> GoogleError:
    """The exception for an error that concerns a whole request.

    Args:
        said: Google's words; what may be somebody's data is taken out.
        who: whose credentials were used, for the sentence that a person reads.
        wait: seconds that Google asked to wait, if it did.
    """
    sentence = _SENTENCES.get(do, "Google refuses the request: {said}")
    return CLASSES.get(do, GoogleRefused)(
        sentence.format(who=who, said=redacted(said)),
        code=code,
        http_status=http_status,
        trace_id=trace_id,
        wait=wait if do is Do.SLOWER else WAITS.get(do),
    )


def gravest(flaws: Sequence[Flaw]) -> Flaw:
    """Of several things that are wrong with one event, the one that decides."""
    return min(flaws, key=lambda flaw: _GRAVITY.index(flaw.do))


_GRAVITY = (
    Do.MOVE, Do.PAUSE, Do.SLOWER, Do.DEAD, Do.CONSENT, Do.OURS, Do.UNKNOWN, Do.TOMORROW, Do.LATER,
    Do.AGAIN, Do.UNMATCHED, Do.DUPLICATE, Do.GONE,
)  # fmt: skip

# Google quotes values, between quotation marks or bare: e-mails, hashes, click ids, numbers.
_SECRETIVE = re.compile(
    r"'[^']*'|\"[^\"]*\"|\S*@\S*|\b(?=\w*\d)[\w+/=-]{16,}|[\w+/=-]{40,}|\+?\d[\d\s().-]{5,}\d"
)


def redacted(text: str) -> str:
    """Google's words without anything that may be data of a person; at most 200 characters."""
    return _SECRETIVE.sub("…", text)[:200]


def _table(groups: Mapping[Do, str]) -> dict[str, Do]:
    pairs = [(name, do) for do, names in groups.items() for name in names.split()]
    table = dict(pairs)
    assert len(table) == len(pairs), "a code stands in two groups"
    return table


# Why `events:ingest` refuses: reasons of one event, of a destination or of the whole request.
FAST_FAIL = _table(
    {
        Do.AGAIN: "INTERNAL_ERROR DEADLINE_EXCEEDED",
        Do.SLOWER: "RESOURCE_EXHAUSTED",
        Do.LATER: "CONVERSION_ACTION_TOO_RECENTLY_CREATED",
        Do.GONE: "INVALID_REQUEST_ID REQUEST_TOO_OLD",
        Do.PAUSE: """
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
        Do.DEAD: """
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
        Do.OURS: """
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
        Do.UNKNOWN: "ERROR_REASON_UNSPECIFIED",
    }
)

# What became of events that were taken, told as counts; the enum's prefix is left out.
PROCESSING = _table(
    {
        Do.DUPLICATE: "DUPLICATE_GCLID DUPLICATE_TRANSACTION_ID",
        Do.LATER: "TOO_RECENT_CLICK",
        Do.AGAIN: "INTERNAL_ERROR",
        Do.CONSENT: "DENIED_CONSENT NO_CONSENT UNKNOWN_CONSENT",
        Do.UNMATCHED: """
            CLICK_NOT_FOUND INVALID_CLICK USER_ID_NOT_FOUND USER_ID_NOT_FOUND_FOR_GCLID
            ORIGINAL_CONVERSIONS_NOT_FOUND MATCH_ID_NOT_FOUND USER_ID_NOT_FOUND_FOR_MATCH_ID
            USER_ID_NOT_FOUND_FOR_DCLID USER_ID_NOT_FOUND_FOR_IMPRESSION_ID""",
        Do.PAUSE: """
            DESTINATION_ACCOUNT_ENHANCED_CONVERSIONS_TERMS_NOT_SIGNED CUSTOM_VARIABLE_NOT_ENABLED
            ONE_PER_CLICK_CONVERSION_ACTION_NOT_PERMITTED_WITH_BRAID
            EXTERNAL_ATTRIBUTION_DATA_MISSING
            INVALID_WIP INVALID_KEK WIP_AUTH_FAILED KEK_PERMISSION_DENIED AWS_AUTH_FAILED
            INVALID_MERCHANT_ID""",
        Do.DEAD: """
            INVALID_CUSTOM_VARIABLE EVENT_TOO_OLD INVALID_GBRAID INVALID_GCLID INVALID_WBRAID
            INVALID_EVENT INSUFFICIENT_MATCHED_TRANSACTIONS INSUFFICIENT_TRANSACTIONS INVALID_FORMAT
            DECRYPTION_ERROR DEK_DECRYPTION_ERROR USER_IDENTIFIER_DECRYPTION_ERROR
            OPERATING_ACCOUNT_MISMATCH_FOR_AD_IDENTIFIER INVALID_AD_IDENTIFIERS
            INVALID_MOBILE_ID_FORMAT EVENT_ID_DECODE_ERROR CONVERSION_PRECEDES_CLICK
            INVALID_OPERATING_ACCOUNT_FOR_CLICK""",
        Do.UNKNOWN: "UNSPECIFIED",
    }
)

# `category.NAME` as `GoogleAdsError.error_code` has it; `category.*` for the rest of a category.
ADS = _table(
    {
        Do.DUPLICATE: """
            conversion_upload_error.ORDER_ID_ALREADY_IN_USE
            conversion_upload_error.CLICK_CONVERSION_ALREADY_EXISTS
            conversion_upload_error.CALL_CONVERSION_ALREADY_EXISTS
            conversion_adjustment_upload_error.CONVERSION_ALREADY_ENHANCED
            conversion_adjustment_upload_error.CONVERSION_ALREADY_RETRACTED
            conversion_adjustment_upload_error.RESTATEMENT_ALREADY_EXISTS
            conversion_adjustment_upload_error.MORE_RECENT_RESTATEMENT_FOUND""",
        Do.LATER: """
            conversion_upload_error.TOO_RECENT_EVENT
            conversion_upload_error.TOO_RECENT_CONVERSION_ACTION
            conversion_upload_error.TOO_RECENT_CALL
            conversion_adjustment_upload_error.TOO_RECENT_CONVERSION_ACTION""",
        Do.TOMORROW: """
            conversion_adjustment_upload_error.TOO_RECENT_CONVERSION
            conversion_adjustment_upload_error.CONVERSION_NOT_FOUND""",
        Do.UNMATCHED: """
            conversion_upload_error.EVENT_NOT_FOUND conversion_upload_error.CLICK_NOT_FOUND
            conversion_upload_error.CALL_NOT_FOUND""",
        Do.AGAIN: "internal_error.* database_error.CONCURRENT_MODIFICATION",
        Do.SLOWER: """
            quota_error.RESOURCE_EXHAUSTED quota_error.RESOURCE_TEMPORARILY_EXHAUSTED
            quota_error.EXCESSIVE_SHORT_TERM_QUERY_RESOURCE_CONSUMPTION
            quota_error.EXCESSIVE_LONG_TERM_QUERY_RESOURCE_CONSUMPTION
            quota_error.PAYMENTS_PROFILE_ACTIVATION_RATE_LIMIT_EXCEEDED""",
        Do.MOVE: "not_allowlisted_error.CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE",
        Do.PAUSE: """
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
        Do.DEAD: """
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
        Do.OURS: """
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
        Do.UNKNOWN: """
            conversion_upload_error.UNSPECIFIED conversion_upload_error.UNKNOWN
            conversion_adjustment_upload_error.UNSPECIFIED
            conversion_adjustment_upload_error.UNKNOWN""",
    }
)


# What a gRPC status asks of us where nothing more is said: https://grpc.io/docs/guides/status-codes
STATUSES = {
    **dict.fromkeys(
        ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "ABORTED", "CANCELLED",
         "DATA_LOSS"),
        Do.AGAIN,
    ),
    "RESOURCE_EXHAUSTED": Do.SLOWER,
    "PERMISSION_DENIED": Do.PAUSE,
    "NOT_FOUND": Do.PAUSE,
    "FAILED_PRECONDITION": Do.PAUSE,
    "INVALID_ARGUMENT": Do.OURS,
    "OUT_OF_RANGE": Do.OURS,
    "UNIMPLEMENTED": Do.PAUSE,
    "UNAUTHENTICATED": Do.PAUSE,
    "ALREADY_EXISTS": Do.OURS,
}  # fmt: skip


def ads(code: str) -> Do:
    """What a code of the Google Ads API, such as `date_error.INVALID_STRING_DATE`, asks of us.

    Categories of services that we do not call have no rule: `UNKNOWN`, as new codes have.
    """
    if code.rpartition(".")[2] in ("UNSPECIFIED", "UNKNOWN"):
        return Do.UNKNOWN
    return ADS.get(code) or ADS.get(f"{code.partition('.')[0]}.*", Do.UNKNOWN)


def fast_fail(reason: str) -> Do:
    """What a reason of Data Manager's `ErrorReason` asks of us."""
    return FAST_FAIL.get(reason, Do.UNKNOWN)


def processing(reason: str) -> Do:
    """What a reason of Data Manager's `ProcessingErrorReason` asks of us, prefix or not."""
    return PROCESSING.get(reason_of(reason), Do.UNKNOWN)


def reason_of(reason: str) -> str:
    """`PROCESSING_ERROR_REASON_DUPLICATE_GCLID` as `DUPLICATE_GCLID`."""
    return reason.removeprefix("PROCESSING_ERROR_").removeprefix("REASON_")
