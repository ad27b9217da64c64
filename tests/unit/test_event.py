"""The list of an event's fields, and what derives from it."""

import csv

from tributary import config, event
from tributary.api.models import ConversionIn
from tributary.deliver import files, outbox, store


def test_whatever_names_a_person_is_cleared_when_the_person_is_erased() -> None:
    """An erasure leaves data of the person in the table."""
    kept = set(event.COLUMN_FIELDS) - set(event.ERASED) - event.INTERNAL
    assert kept == {
        "event_name", "event_id", "event_time", "action_source", "event_value", "currency",
        "transaction_id", "campaign_id", "ad_id", "is_test",
    }  # fmt: skip


def test_files_the_rest_api_and_the_sql_have_the_fields_of_the_list() -> None:
    """A new field has to be added in more than one place, and one of them is forgotten."""
    assert list(ConversionIn.model_fields) == list(event.FIELDS)
    assert ConversionIn.model_json_schema()["required"] == ["event_name"]
    for name in event.INSERTED:
        assert f"{name}, " in store._INSERT or f"{name})" in store._INSERT
    for name in event.CLAIMED:
        assert f"e.{name}" in outbox._EVENTS


def test_the_documentation_of_the_fields_is_up_to_date() -> None:
    """The documentation describes columns that an import refuses, or lacks one that it takes."""
    assert (config.ROOT / "docs/events.md").read_text() == event.documentation()


def test_the_documented_examples_and_hints_are_fields() -> None:
    """The documentation or a hint sends someone to a column that does not exist."""
    with (config.ROOT / "docs/examples/conversions.csv").open() as file:
        assert set(next(csv.reader(file))) <= set(event.FIELDS)
    assert set(files._SYNONYMS) <= set(event.FIELDS)
    assert not set(files._SYNONYM_OF) & set(event.FIELDS)
