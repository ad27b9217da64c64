"""Import of a file: CSV, Parquet or Excel into intake, line by line, with a report for a person.

Refused lines are written to a file of the same format beside it, with a column `reason`; corrected,
it can be imported again. Importing a file twice changes nothing.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from uuid import UUID

import pandas as pd

from tributary.config import private_file
from tributary.deliver import brands, erasure, intake, refused_files
from tributary.deliver.brands import Brand
from tributary.deliver.event_names import ALIASES
from tributary.errors import SettingsError
from tributary.event import FIELDS
from tributary.warehouse import Connection

_CHUNK = 5_000
_NOT_UTF8 = "{} is not UTF-8 text: save it as CSV UTF-8. Nothing was imported."
_SURPLUS = "\ue000"  # marks a line with surplus fields; a private character of Unicode
REASON = "reason"  # the column of a file of refused lines
# What shops and other tools call a column, by our name for it.
_SYNONYMS = {
    "event_name": ("event", "event_type", "name"),
    "event_time": ("timestamp", "time", "date", "created_at", "conversion_time", "order_date"),
    "transaction_id": ("order", "order_id", "order_number", "orderid"),
    "value": ("total", "revenue", "conversion_value", "order_value", "order_total"),
    "currency": ("currency_code", "conversion_currency"),
    "email": ("mail", "e-mail", "email_address", "customer_email", "em"),
    "phone": ("phone_number", "mobile", "telephone", "tel", "ph"),
    "first_name": ("firstname", "given_name", "fn"),
    "last_name": ("lastname", "surname", "family_name", "ln"),
    "zip": ("postal_code", "postcode", "zip_code", "zp"),
    "state": ("province", "region"),
    "country": ("country_code",),
    "date_of_birth": ("birthday", "birthdate", "dob"),
    "external_id": ("customer_id",),
    "event_source_url": ("url", "page", "page_url"),
    "ip": ("ip_address", "client_ip_address"),
    "user_agent": ("useragent", "client_user_agent"),
    "consent_ad_user_data": ("consent", "ad_user_data"),
    "consent_ad_personalization": ("ad_personalization",),
    "brand": ("shop", "brand_slug"),
}
_SYNONYM_OF = {other: name for name, others in _SYNONYMS.items() for other in others}
_CLOSE = 0.75  # of difflib's ratio: emial is email, order_id is not user_id


@dataclass
class Report:
    """What an import did with the lines of a file."""

    accepted: int = 0
    duplicate: int = 0
    differing: int = 0  # of the duplicates, those with another amount than the event has
    refused: list[tuple[int, str]] = field(default_factory=list)  # line number and reason
    # What was left out of accepted lines, or taken for a missing value, and of how many.
    notes: Counter[str] = field(default_factory=Counter)
    deliveries: Counter[intake.FirstDelivery] = field(default_factory=Counter)
    unsent: Counter[str] = field(default_factory=Counter)  # by brand without a destination
    refused_file: Path | None = None


def import_file(connection: Connection, path: Path, brand: str | None, now: datetime) -> Report:
    """Take the events of a file.

    Args:
        connection: autocommit; each 5,000 lines are one transaction.
        path: `.csv`, `.parquet` or `.xlsx` with columns of `event.FIELDS`.
        brand: slug for lines without a brand of their own.

    Raises:
        SettingsError: the file as a whole cannot be read; nothing was imported.
    """
    known = brands.load(connection)
    if brand is not None and brand not in known:
        raise SettingsError(f"There is no brand {brand!r}{_close(brand, known)}.")
    own_aliases = {name for one in known.values() for name in one.settings.property_aliases}
    report = Report()
    refused: list[pd.DataFrame] = []
    people: dict[UUID | None, set[str]] = {}
    for frame in _until_broken(_frames(path), report):
        _check_header(path, [str(name) for name in frame.columns], own_aliases)
        reasons: dict[int, str] = {}
        owners: dict[int, Brand] = {}
        by_brand: dict[str, list[tuple[int, dict[str, object]]]] = {}
        for index, values in zip(frame.index, frame.to_dict("records"), strict=True):
            line = {str(k): v for k, v in values.items() if not _absent(v) and k != REASON}
            if not line:
                continue  # an empty line
            fault = _fault(line)
            slug = str(line.pop("brand", None) or brand or "")
            if fault := fault or _unknown_brand(slug, known):
                reasons[index] = fault
            else:
                by_brand.setdefault(slug, []).append((index, line))
        for slug, lines in by_brand.items():
            receipts = intake.take(
                connection, known[slug], [line for _, line in lines], source="file", now=now
            )
            for (index, _), receipt in zip(lines, receipts, strict=True):
                owners[index] = known[slug]
                _count(report, slug, receipt)
                if receipt.status == "refused":
                    reasons[index] = str(receipt.reason)
        report.refused += sorted(reasons.items())
        kept = _not_erased(connection, frame, reasons, owners, people) if reasons else []
        if kept:
            rest = frame.loc[kept].copy()
            rest[REASON] = [reasons[index] for index in kept]
            refused.append(rest)
    if refused:
        target = path.with_name(f"{path.stem}.refused{path.suffix}")
        refused_files.register(connection, target, people)
        report.refused_file = _write(target, pd.concat(refused))
    return report


def _count(report: Report, slug: str, receipt: intake.Receipt) -> None:
    report.accepted += receipt.status == "accepted"
    report.duplicate += receipt.status == "duplicate"
    report.differing += receipt.differs
    report.notes.update(receipt.notes)
    report.deliveries.update(receipt.deliveries)
    if receipt.status == "accepted" and not receipt.deliveries:
        report.unsent[slug] += 1


def _unknown_brand(slug: str, known: Iterable[str]) -> str | None:
    if slug in known:
        return None
    if not slug:
        return "brand: is missing; write the column or give --brand"
    return f"brand: there is no such brand{_close(slug, known)}"


def _until_broken(frames: Iterator[pd.DataFrame], report: Report) -> Iterator[pd.DataFrame]:
    """The frames; where reading breaks off after the first, the report says at which line."""
    last = 0
    try:
        for frame in frames:
            yield frame
            last = int(frame.index[-1])
    except SettingsError:
        if last == 0:
            raise
        report.refused.append(
            (last + 1, "from here on the file cannot be read; is a quotation mark left open?")
        )


def _frames(path: Path) -> Iterator[pd.DataFrame]:
    """The file in pieces of 5,000 lines, each indexed by its line number in the file."""
    kind = path.suffix.lower()
    try:
        if kind == ".csv":
            yield from _csv_frames(path)
            return
        if kind == ".xlsx":
            lines = pd.read_excel(path, dtype=object)
        elif kind == ".parquet":
            lines = pd.read_parquet(path)
        else:
            raise SettingsError(f"{path.name}: must end in .csv, .parquet or .xlsx.")
    except FileNotFoundError:
        raise SettingsError(f"There is no file {path}.") from None
    except (csv.Error, StopIteration, ValueError, OSError) as error:
        # A parser's message may quote the line: only the error's name is shown.
        raise SettingsError(
            f"{path.name} cannot be read as {kind[1:]}: {type(error).__name__}."
        ) from None
    first = 2 if kind == ".xlsx" else 1  # a sheet's first line is its header
    lines.index = pd.RangeIndex(first, len(lines) + first)
    for start in range(0, len(lines), _CHUNK):
        yield lines.iloc[start : start + _CHUNK]


def _csv_frames(path: Path) -> Iterator[pd.DataFrame]:
    """The lines; bad bytes and surplus fields are marked, so that only their line is refused."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        first = file.readline()
        file.seek(0)
        delimiter = max(",;\t", key=first.count)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        header = next(reader, None)
        if not header:
            raise ValueError
        width = len(header)
        filled = ((reader.line_num, fields) for fields in reader if any(fields))
        while lines := dict(islice(filled, _CHUNK)):
            for fields in lines.values():
                if any(fields[width:]):
                    fields[0] = _SURPLUS + fields[0]
                    fields[width - 1] = delimiter.join(fields[width - 1 :])
                fields += [""] * (width - len(fields))
                del fields[width:]
            yield pd.DataFrame(
                list(lines.values()),
                index=list(lines),
                # pandas' own strings cannot hold bytes that are not UTF-8; Python's can.
                columns=pd.Index(header, dtype=object),
                dtype=object,
            )


def _fault(line: dict[str, object]) -> str | None:
    """Why the line's fields cannot be read at all."""
    texts = [value for value in line.values() if isinstance(value, str)]
    if any(text.startswith(_SURPLUS) for text in texts):
        return "the line has more fields than the header; a comma may want quotes around its field"
    if any("\udc80" <= char <= "\udcff" for text in texts for char in text if char > "\ud800"):
        return "the line is not UTF-8 text; save the file as CSV UTF-8"
    return None


def _check_header(path: Path, columns: list[str], own_aliases: Iterable[str]) -> None:
    if any(not char.isprintable() for name in columns for char in name):
        raise SettingsError(_NOT_UTF8.format(path.name))
    allowed = {*FIELDS, *ALIASES, *own_aliases, REASON}
    # A file without a header has a person in its place: only what is nearly a name is repeated.
    unknown = [
        f"{name}{hint}" if (hint := _hint(name, allowed)) else f"column {number}"
        for number, name in enumerate(columns, 1)
        if name not in allowed
    ]
    if unknown:
        raise SettingsError(
            f"{path.name}: unknown columns in its first line: {', '.join(unknown)}. Nothing was "
            f"imported. Rename them, or leave them out. The columns are {', '.join(FIELDS)}; "
            "docs/events.md describes each."
        )
    if "event_name" not in columns:
        raise SettingsError(
            f"{path.name}: the column event_name is missing. Nothing was imported. Add it, with "
            "Purchase, Lead or another name in each line."
        )


def _hint(name: str, allowed: Iterable[str]) -> str:
    if synonym := _SYNONYM_OF.get(name.strip().lower().replace(" ", "_")):
        return f" (write {synonym})"
    return _close(name, allowed)


def _close(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name.lower(), list(known), 1, _CLOSE)
    return f" (did you mean {found[0]}?)" if found else ""


def _absent(value: object) -> bool:
    if value is None or isinstance(value, str):
        return not value
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _not_erased(
    connection: Connection,
    frame: pd.DataFrame,
    reasons: dict[int, str],
    owners: dict[int, Brand],
    people: dict[UUID | None, set[str]],
) -> list[int]:
    """The refused lines that may be written down, in order; adds who is in them to `people`."""
    lines: dict[int, set[str]] = {}
    for index in sorted(reasons):
        if reasons[index] != intake.ERASED:
            owner = owners.get(index)
            lines[index] = refused_files.people_in(
                {str(k): v for k, v in frame.loc[index].items() if not _absent(v)},
                owner,
            )
    erased = erasure.brands_that_erased(connection, set().union(*lines.values()))
    kept = []
    for index, found in lines.items():
        brand_id = owners[index].id if index in owners else None
        if not any(one in found and brand_id in (None, brand) for brand, one in erased):
            people.setdefault(brand_id, set()).update(found)
            kept.append(index)
    return kept


def _write(target: Path, lines: pd.DataFrame) -> Path:
    for place in range(lines.shape[1]):  # not by name: a header may have one twice
        values = [
            v.removeprefix(_SURPLUS) if isinstance(v, str) else v for v in lines.iloc[:, place]
        ]
        lines.isetitem(place, pd.Series(values, index=lines.index, dtype=object))
    # Personal data, as it was handed in.
    with private_file(target) as file:
        if target.suffix.lower() == ".csv":
            text = io.TextIOWrapper(
                file, encoding="utf-8", errors="surrogateescape", newline="", write_through=True
            )
            lines.to_csv(text, index=False)
            text.detach()
        elif target.suffix.lower() == ".parquet":
            lines.to_parquet(file, index=False)
        else:
            lines.to_excel(file, index=False, engine="openpyxl")
    return target
