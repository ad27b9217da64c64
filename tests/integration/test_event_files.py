"""The file import: each line is accepted, a duplicate, or refused with a sentence per fault."""

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from tributary import config
from tributary import warehouse as wh
from tributary.cli import main
from tributary.deliver import outbox
from tributary.deliver.files import Report, import_file
from tributary.errors import SettingsError

from sandbox.world import Clock
from tests.support.loads import query
from tests.support.outgoing import (
    NOW,
    OTHER_PIXEL,
    PIXEL,
    configure,
    meta_destination,
    sandbox_with_pixels,
    send,
)

_HEADER = "brand,event_name,event_id,event_time,email,value,currency"
_GOOD = "acme,Purchase,e{},2026-11-20T10:00:00+00:00,p{}@example.com,10.50,USD"


def _import(uri: str, path: Path, brand: str | None = None) -> Report:
    with wh.connect(uri, autocommit=True) as connection:
        return import_file(connection, path, brand, NOW)


def _write(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.write_bytes("\n".join([_HEADER, *lines]).encode(encoding))
    return path


def _good(number: int) -> str:
    return _GOOD.format(number, number)


def test_bad_lines_cost_only_themselves(warehouse: str, tmp_path: Path) -> None:
    """A file is refused for one line, or a line is lost without a reason."""
    configure(warehouse)
    path = tmp_path / "drop.csv"
    lines = [
        _good(1),
        "acmee,Purchase,e2,2026-11-20T10:00:00Z,p@example.com,1,USD",
        "acme,Purchase,e3,2026-11-20T10:00:00Z,p@example.com,-1,USD",
        "acme,Purchase,e4,2027-01-01T10:00:00Z,p@example.com,1,USD",
        "acme,Purchase,e5,2026-11-20T10:00:00Z,p@example.com,1,DOLLAR",
        "acme,Purchase,e6,2026-11-20T10:00:00Z,p@example.com,1,USD,too,much",
        "acme,Purchase,e7,2026-11-20T10:00:00Z,J\xfcrgen,1,USD",
        _good(8),
        _good(1),
        ",Purchase,e10,2026-11-20T10:00:00Z,p@example.com,1,USD",
        "acme,,e11,,,,",
    ]
    path.write_bytes("\n".join([_HEADER, *lines]).encode("latin-1"))
    report = _import(warehouse, path)
    assert (report.accepted, report.duplicate) == (2, 1)
    assert report.refused == [
        (3, "brand: there is no such brand (did you mean acme?)"),
        (
            4,
            "value: must not be negative; a refund belongs in app.transactions (refunded_amount)",
        ),
        (5, "event_time: must not be in the future"),
        (6, "currency: must be an ISO 4217 code such as USD"),
        (7, "the line has more fields than the header; a comma may want quotes around its field"),
        (8, "the line is not UTF-8 text; save the file as CSV UTF-8"),
        (11, "brand: is missing; write the column or give --brand"),
        (12, "event_name: is missing"),
    ]
    assert "example.com" not in str(report)


def test_refused_lines_can_be_corrected_and_imported_again(warehouse: str, tmp_path: Path) -> None:
    """Refused lines have to be searched for by hand."""
    configure(warehouse)
    path = _write(tmp_path / "drop.csv", _good(1), _good(2).replace("USD", "US$"))
    report = _import(warehouse, path)
    assert report.refused_file == tmp_path / "drop.refused.csv"
    assert report.refused_file.stat().st_mode & 0o077 == 0
    report.refused_file.write_text(report.refused_file.read_text().replace("US$", "USD"))
    again = _import(warehouse, report.refused_file)
    assert (again.accepted, again.refused) == (1, [])
    both = _import(warehouse, _write(path, _good(1), _good(2)))
    assert (both.accepted, both.duplicate) == (0, 2)


@pytest.mark.parametrize("kind", ["csv", "parquet", "xlsx"])
def test_every_format_says_the_same(warehouse: str, tmp_path: Path, kind: str) -> None:
    """An id or amount changes on its way through a spreadsheet."""
    configure(warehouse)
    frame = pd.DataFrame(
        {
            "event_name": ["Purchase", "Lead"],
            "event_id": ["0012", None],
            "event_time": ["2026-11-20T10:00:00Z", "2026-11-20T11:00:00Z"],
            "transaction_id": [4711, 4712],
            "value": [10.5, None],
            "currency": ["USD", None],
            "is_test": [False, True],
            "custom_params": ['{"content_ids": ["a"]}', None],
        }
    )
    path = tmp_path / f"drop.{kind}"
    if kind == "csv":
        frame.to_csv(path, index=False)
    elif kind == "parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_excel(path, index=False)
    report = _import(warehouse, path, "acme")
    assert (report.accepted, report.refused) == (2, [])
    rows = query(
        warehouse,
        "select event_id, transaction_id, event_value::text as value, currency, is_test, "
        "custom_params from ops.conversion_events order by event_time",
    )
    assert rows[0] == {
        "event_id": "0012",
        "transaction_id": "4711",
        "value": "10.5",
        "currency": "USD",
        "is_test": False,
        "custom_params": {"content_ids": ["a"]},
    }
    assert rows[1]["is_test"] is True


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"brand,event_name,emial\nacme,Lead,a@example.com", "emial (did you mean email?)"),
        (b"brand,event_id\nacme,1", "the column event_name is missing"),
        (
            b"Lead,jane@example.com,+49151234\nLead,b@example.com,1",
            "first line: column 1, column 2, column 3. Nothing",
        ),
        ("brand,event_name\nacme,Lead".encode("utf-16"), "is not UTF-8 text"),
        (b"", "cannot be read as csv"),
    ],
)
def test_a_file_that_cannot_be_read_imports_nothing(
    warehouse: str, tmp_path: Path, content: bytes, sentence: str
) -> None:
    """A misspelt column is dropped silently."""
    configure(warehouse)
    path = tmp_path / "drop.csv"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as refused:
        _import(warehouse, path)
    assert sentence in str(refused.value)
    assert "jane" not in str(refused.value)
    assert query(warehouse, "select 1 from ops.conversion_events") == []


@pytest.mark.parametrize(
    ("column", "hint"),
    [
        ("order_id", "order_id (write transaction_id)"),
        ("Order ID", "Order ID (write transaction_id)"),
        ("timestamp", "timestamp (write event_time)"),
        ("Email", "Email (did you mean email?)"),
        ("e-mail", "e-mail (write email)"),
        ("consent", "consent (write consent_ad_user_data)"),
        ("colour", "column 2"),
        ("purchase_id", "column 2"),
    ],
)
def test_an_unknown_column_gets_a_hint_only_where_it_is_close(
    warehouse: str, tmp_path: Path, column: str, hint: str
) -> None:
    """Someone is sent to a wrong column, or has to search for the right one."""
    configure(warehouse)
    path = tmp_path / "drop.csv"
    path.write_text(f"event_name,{column}\nLead,1\n")
    with pytest.raises(SettingsError) as refused:
        _import(warehouse, path, "acme")
    assert f"unknown columns in its first line: {hint}. Nothing was imported." in str(refused.value)


def test_all_faults_of_a_line_are_shown_at_once(warehouse: str, tmp_path: Path) -> None:
    """A line with three faults takes three imports to correct."""
    configure(warehouse)
    path = tmp_path / "drop.csv"
    path.write_text(
        "event_name,event_time,value,currency,is_test,transaction_id\n"
        "Purchase,yesterday,-1,DOLLAR,maybe,undefined\n"
        "Purchase,2026-11-20T10:00:00Z,,,,\n"
        "Lead,2026-11-20T10:00:00Z,5,,,\n"
    )
    report = _import(warehouse, path, "acme")
    assert report.refused == [
        (
            2,
            "event_time: must be a time in ISO 8601 such as 2026-01-31T18:30:00+00:00; "
            "value: must not be negative; a refund belongs in app.transactions (refunded_amount); "
            "currency: must be an ISO 4217 code such as USD; "
            "transaction_id: is a placeholder, such as undefined, null, 0 or {{id}}: different "
            "events would count as one. Fill the variable where the event is made, or leave the "
            "field out; "
            "is_test: must be true, false or empty",
        ),
        (3, "value: a Purchase needs value and currency"),
        (4, "currency: is missing beside a value; write an ISO 4217 code"),
    ]


def test_the_example_file_is_sent(
    warehouse: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newcomer imports the example of the documentation, and nothing reaches the platform."""
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", warehouse)
    # As the settings of the README: nothing is assumed of consent, nothing from before is sent.
    destination = {"name": "acme-meta", "platform": "meta", "conn_id": "meta_acme",
                   "pixel_id": PIXEL}  # fmt: skip
    configure(warehouse, "acme", destination, consent_when_unknown="deny",
              event_id_template="{transaction_id}")  # fmt: skip
    path = tmp_path / "conversions.csv"
    path.write_bytes((config.ROOT / "docs/examples/conversions.csv").read_bytes())
    ended = CliRunner().invoke(main, ["events", "import", str(path), "--brand", "acme"])
    assert ended.exit_code == 0
    assert "3 accepted, 0 duplicate, 0 refused" in ended.output
    assert "acme-meta: 3 wait for the next run of upload_conversions" in ended.output
    with wh.connect(warehouse, autocommit=True) as connection:
        clock = Clock(outbox.now_of(connection))
    with sandbox_with_pixels(clock=clock) as sandbox:
        assert send(warehouse, sandbox).succeeded == 3
    statuses = query(warehouse, "select sync_status, outcome from ops.conversion_deliveries")
    assert [tuple(row.values()) for row in statuses] == [("sent", "accepted")] * 3
    again = CliRunner().invoke(main, ["events", "import", str(path), "--brand", "acme"])
    assert "0 accepted, 3 duplicate, 0 refused" in again.output


def test_an_import_says_why_lines_are_not_sent(
    warehouse: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import looks like a success though none of its lines will reach a platform."""
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", warehouse)
    configure(warehouse, "acme", meta_destination(), consent_when_unknown="deny")
    configure(warehouse, "lumen", meta_destination("lumen-meta", pixel_id=OTHER_PIXEL,
                                                   is_active=False))  # fmt: skip
    path = tmp_path / "drop.csv"
    path.write_text(
        "brand,event_name,email,consent_ad_user_data\n"
        "acme,Lead,a@example.com,\nacme,Lead,b@example.com,false\nacme,Lead,,true\n"
        "acme,Lead,c@example.com,true\nlumen,Lead,d@example.com,true\n"
    )
    ended = CliRunner().invoke(main, ["events", "import", str(path)])
    assert ended.exit_code == 0
    for sentence in (
        "acme-meta: 1 wait for the next run of upload_conversions",
        "acme-meta: 2 skipped as no_consent. ",
        "acme-meta: 1 skipped as unaddressable. ",
        "lumen has no active destination: 1 events are stored, and not sent.",
    ):
        assert sentence in ended.output


def test_a_line_without_a_time_is_the_same_when_it_comes_again(
    warehouse: str, tmp_path: Path
) -> None:
    """Importing a file twice doubles its lines."""
    configure(warehouse)
    path = tmp_path / "drop.csv"
    path.write_text("event_name,email\nLead,a@example.com\n\nLead,b@example.com\n")
    assert _import(warehouse, path, "acme").accepted == 2
    with wh.connect(warehouse, autocommit=True) as connection:
        again = import_file(connection, path, "acme", NOW + timedelta(hours=1))
    assert (again.accepted, again.duplicate, again.refused) == (0, 2, [])


def test_one_comma_too_many_shifts_nothing(warehouse: str, tmp_path: Path) -> None:
    """A line's fields move by one column, and are taken like that."""
    configure(warehouse)
    path = tmp_path / "drop.csv"
    path.write_text("event_name;event_id;contact_id\nLead;e1;c1;\nLead;e2;c2\nLead;e3;c3;x\n")
    report = _import(warehouse, path, "acme")
    rows = query(warehouse, "select event_name, event_id, contact_id from ops.conversion_events")
    assert {tuple(row.values()) for row in rows} == {("Lead", "e1", "c1"), ("Lead", "e2", "c2")}
    assert [line for line, _ in report.refused] == [4]
    assert report.refused_file is not None
    assert "c3;x" in report.refused_file.read_text()


def test_a_file_that_breaks_off_reports_what_was_imported(warehouse: str, tmp_path: Path) -> None:
    """Lines of a broken file are imported, and the report does not say which."""
    configure(warehouse)
    path = tmp_path / "drop.csv"
    lines = [f"Lead,e{number},c" for number in range(5_100)]
    path.write_text("event_name,event_id,contact_id\n" + "\n".join(lines) + '\nLead,"e,c\n')
    report = _import(warehouse, path, "acme")
    assert report.accepted == 5_000
    assert report.refused[0][0] == 5_002
    assert "quotation mark" in report.refused[0][1]


def test_a_missing_file_a_strange_one_and_a_strange_brand(warehouse: str, tmp_path: Path) -> None:
    """A typing mistake ends in a traceback."""
    configure(warehouse)
    for path, brand, sentence in (
        (tmp_path / "none.csv", None, "There is no file"),
        (_write(tmp_path / "drop.doc", _good(1)), None, "must end in .csv, .parquet or .xlsx"),
        (_write(tmp_path / "drop.csv", _good(1)), "acne", "(did you mean acme?)"),
    ):
        with pytest.raises(SettingsError) as refused:
            _import(warehouse, path, brand)
        assert sentence in str(refused.value)


def test_the_command_prints_lines_and_sums(
    warehouse: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The importer does not learn which lines were accepted."""
    configure(warehouse)
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", warehouse)
    path = _write(tmp_path / "drop.csv", _good(1), _good(2).replace("USD", "US$"))
    path.write_text(path.read_text().replace("2026-11-20", "2026-01-02"))
    result = CliRunner().invoke(main, ["events", "import", str(path)])
    assert result.exit_code == 1
    assert "line 3: currency: must be an ISO 4217 code such as USD" in result.output
    assert "1 accepted, 0 duplicate, 1 refused" in result.output
    assert "drop.refused.csv" in result.output


def test_a_line_that_repeats_an_order_with_another_amount_is_reported(
    warehouse: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corrected file changes nothing, and its summary calls that a success."""
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", warehouse)
    configure(warehouse)
    configure(warehouse, "lumen", meta_destination("lumen-meta", pixel_id=OTHER_PIXEL))
    path = tmp_path / "drop.csv"
    header = "brand,event_name,transaction_id,event_time,email,value,currency"
    at = "2026-11-20T10:00:00Z,p@example.com"
    first = [f"{brand},Purchase,T-{n},{at},10.50,USD" for n in range(4)
             for brand in ("acme", "lumen")]  # fmt: skip
    path.write_text("\n".join([header, *first]))
    assert _import(warehouse, path).accepted == 8
    again = [
        f"acme,Purchase,T-0,{at},12,USD", f"acme,Purchase,T-1,{at},10.50,EUR",
        f"acme,Purchase,T-2,{at},10.5,USD", f"lumen,Purchase,T-0,{at},10.50,USD",
    ]  # fmt: skip
    path.write_text("\n".join([header, *again]))
    ended = CliRunner().invoke(main, ["events", "import", str(path)])
    assert ended.exit_code == 0
    assert "0 accepted, 4 duplicate, 0 refused" in ended.output
    assert "2 of the duplicates have another amount than the event that came first" in ended.output


def test_what_was_left_out_or_made_up_is_counted(
    warehouse: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file gets the time of its import, or loses its phones, silently."""
    configure(warehouse)
    configure(warehouse, "beta", meta_destination("beta-meta", pixel_id="99"))
    monkeypatch.setenv("TRIBUTARY_WAREHOUSE", warehouse)
    path = tmp_path / "drop.csv"
    path.write_text(
        "brand,event_name,event_time,email,phone,external_id\n"
        "acme,Lead,2026-11-20T10:00:00Z,a@example.com,4.915112345678E+12,1\n"
        "acme,Lead,,b@example.com,+4915112345678,undefined\n"
        "beta,Lead,,c@example.com,4.915112345679E+12,2\n"
        "beta,Lead,,c@example.com,,0\n"
        "acme,Lead,,d@example.com,,{{id}}\n"
    )
    report = _import(warehouse, path)
    assert (report.accepted, report.refused) == (5, [])
    assert report.notes == {
        "event_time is missing: the time of the import is taken": 4,
        "phone left out: a spreadsheet has shortened the number (1.2E+11)": 2,
        "external_id left out: it is a placeholder": 3,
    }
    rows = query(
        warehouse,
        "select event_time, user_hashes -> 'meta' ? 'ph' as phone from ops.conversion_events "
        "order by event_time",
    )
    assert [row["event_time"] for row in rows] == [NOW - timedelta(hours=2), *[NOW] * 4]
    assert sum(row["phone"] or False for row in rows) == 1
    result = CliRunner().invoke(main, ["events", "import", str(_copy(path))])
    assert result.exit_code == 0
    assert "5 accepted, 0 duplicate, 0 refused" in result.output
    assert "4 accepted lines: event_time is missing: the time of the import" in result.output
    assert "2 accepted lines: phone left out: a spreadsheet has shortened" in result.output


def _copy(path: Path) -> Path:
    """The same lines of other people."""
    other = path.with_name("other.csv")
    other.write_text(path.read_text().replace("@example.com", "@example.org"))
    return other


def test_a_setting_that_changes_makes_no_line_anew(warehouse: str, tmp_path: Path) -> None:
    """The same file counts twice once a brand gets a default country or another time zone."""
    file = tmp_path / "leads.csv"
    file.write_text(
        "event_name,event_time,email,phone,city\n"
        "Lead,2026-11-19T10:00:00,a@example.com,081234567890,Z\u00fcrich\n"
    )
    found = []
    for brand in ("acme", "lumen"):
        target = meta_destination(f"{brand}-meta", pixel_id=str(len(brand) * 7))
        for settings in ({}, {"default_country": "ID"}, {"time_zone": "Asia/Jakarta"}):
            configure(warehouse, brand, target, **settings)
            with wh.connect(warehouse, autocommit=True) as connection:
                report = import_file(connection, file, brand, NOW)
            found.append((report.accepted, report.duplicate))
    assert found == [(1, 0), (0, 1), (0, 1)] * 2
    ids = query(warehouse, "select event_id from ops.conversion_events order by event_id")
    # As the versions before made it, so that their files are known, too.
    assert [row["event_id"] for row in ids] == [
        "c8b666f1-a303-55c6-85da-429dfed1d668", "ed7d39d1-5760-5152-9883-875a2421a1ef",
    ]  # fmt: skip
