"""Every outcome that the code can write has a text, whoever writes it."""

import ast
import re
from collections.abc import Iterator
from http import HTTPStatus

import grpc
import pytest
from tributary import config
from tributary.deliver import meanings
from tributary.platforms.google import errors as google
from tributary.platforms.meta import errors as meta

_PLATFORMS = ("meta", "google_data_manager", "google_ads", "posthog")
_IN_SQL = re.compile(r"outcome = (case .*? end|'\w+')", re.DOTALL)
_QUOTED = re.compile(r"(?:then|else|^) ?'(\w+)'")


def _ours() -> Iterator[str]:
    """What stands in the code as an outcome: in verdicts, rules, errors' labels, statements."""
    for path in sorted((config.ROOT / "include").rglob("*.py")):
        if "sandbox" not in path.parts:
            for node in ast.walk(ast.parse(path.read_text())):
                yield from _of(node)


def _of(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Call(func=ast.Name("Verdict"), args=[_, outcome, *_]):
            yield from _texts(outcome)
        case ast.FunctionDef(name="flaw" | "_flaw" | "not_taken" | "label"):
            for one in ast.walk(node):
                if isinstance(one, ast.Return) and one.value is not None:
                    yield from _texts(one.value)
        case ast.Assign(targets=[ast.Name("outcome" | "label")], value=value):
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
        case ast.Call(func=ast.Attribute(value=ast.Dict(values=values)), args=args):
            for one in (*values, *args):
                yield from _texts(one)


OURS = sorted({text for text in _ours() if "/" not in text})


def test_they_are_found_where_they_are_written() -> None:
    """Red: an outcome is written in a way that this test does not see."""
    assert set(OURS) >= {
        "accepted", "confirmed", "duplicate", "unmatched", "attempts", "outcome_unknown", "expired",
        "no_consent", "unaddressable", "not_mapped", "not_adjustable", "test", "inactive",
        "cancelled", "original_not_sent", "superseded", "before_send_from", "by_hand", "erased",
        "website_fields", "currency_missing", "same_id_in_request", "unreachable", "no_answer",
        "not_received", "quota",
    }  # fmt: skip


@pytest.mark.parametrize("outcome", OURS)
def test_every_outcome_of_ours_is_explained(outcome: str) -> None:
    """Red: a person reads "a code of the platform's own" of a code that is ours."""
    for platform in _PLATFORMS:
        for status in ("sent", "failed", "skipped", "dead"):
            assert meanings.meaning(platform, outcome, status) != meanings._UNKNOWN


def _codes() -> Iterator[tuple[str, str]]:
    for code, subcode in meta.POLICY:
        yield "meta", f"{code}/{subcode}" if subcode else str(code)
    for platform in ("google_data_manager", "google_ads"):
        yield from ((platform, status.name) for status in grpc.StatusCode if status.value[0])
    yield from (("google_data_manager", reason) for reason in google.FAST_FAIL)
    yield from (("google_data_manager", reason) for reason in google.PROCESSING)
    yield "google_data_manager", "INVALID_GBRAID, INVALID_GCLID"  # both mean the same to us
    for pattern in google.ADS:
        yield "google_ads", pattern.replace("*", "SOMETHING")
    yield "google_ads", "unknown"
    for status in HTTPStatus:
        yield from ((platform, f"http_{status.value}") for platform in _PLATFORMS)


def test_every_code_of_a_platform_that_has_a_rule_is_explained() -> None:
    """Red: a person is sent to a platform's documentation for a code that we have a rule for."""
    silent = {one for one in _codes() if meanings.meaning(*one) == meanings._UNKNOWN}
    assert silent == set()
    assert meanings.meaning("meta", "4711/1") == meanings._UNKNOWN
    assert meanings.meaning("google_ads", "a_new_error.SOMETHING") == meanings._UNKNOWN
