"""A file drop: CSV, Parquet or Excel into intake, line by line, with a report a person can act on.

Lines that are refused are written to a file of the same form beside it, with a column `reason`;
mended, it can be imported again. Importing a file twice changes nothing.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd

from tributary.config import private_file
from tributary.deliver import intake, refused_files
from tributary.errors import SettingsError
from tributary.warehouse import Connection

_CHUNK = 5_000
_NOT_UTF8 = "{} is not UTF-8 text: save it as CSV UTF-8. Nothing was taken."
_SURPLUS = "\ue000"  # marks a line with surplus fields; a private character of Unicode
REASON = "reason"  # the column of a file of refused lines


@dataclass
class Report:
    """What became of a file's lines."""

    accepted: int = 0
    duplicate: int = 0
    differing: int = 0  # of the duplicates, those with another amount than the event has
    refused: list[tuple[int, str]] = field(default_factory=list)  # line number and reason
    # What was left out of accepted lines, or taken for what was missing, and of how many.
    notes: Counter[str] = field(default_factory=Counter)
    refused_file: Path | None = None


def import_file(connection: Connection, path: Path, brand: str | None, now: datetime) -> Report:
    """Take the events of a file.

    Args:
        connection: autocommit; each 5,000 lines are one transaction.
        path: `.csv`, `.parquet` or `.xlsx` with columns of `intake.FIELDS`.
        brand: slug for lines without a brand of their own.

    Raises:
        SettingsError: the file as a whole cannot be read; nothing was taken.
    """
    # pandas' own strings cannot hold bytes that are no UTF-8; Python's can.
    with pd.option_context("future.infer_string", False):
        return _import(connection, path, brand, now)


def _import(connection: Connection, path: Path, brand: str | None, now: datetime) -> Report:
    known = intake.brands(connection)
    if brand is not None and brand not in known:
        raise SettingsError(f"There is no brand {brand!r}. {_near(brand, known)}".rstrip())
    report = Report()
    refused: list[pd.DataFrame] = []
    people: dict[UUID | None, set[str]] = {}
    for frame in _told(_frames(path), report):
        _check_header(path, list(frame.columns), {n for b in known.values()
                      for n in b.settings.get("property_aliases", {})})  # fmt: skip
        reasons: dict[int, str] = {}
        owners: dict[int, intake.Brand] = {}
        by_brand: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        for index, line in zip(frame.index, frame.to_dict("records"), strict=True):
            line = {str(k): v for k, v in line.items() if not _absent(v) and k != REASON}
            if not line:
                continue  # an empty line
            fault = _fault(line)
            slug = str(line.pop("brand", None) or brand or "")
            if fault:
                reasons[index] = fault
            elif slug not in known:
                reasons[index] = (
                    f"brand: there is no such brand {_near(slug, known)}".rstrip()
                    if slug
                    else "brand: is missing; write the column or give --brand"
                )
            else:
                by_brand.setdefault(slug, []).append((index, line))
        for slug, lines in by_brand.items():
            receipts = intake.take(
                connection, known[slug], [line for _, line in lines], source="file", now=now
            )
            for (index, _), receipt in zip(lines, receipts, strict=True):
                owners[index] = known[slug]
                report.accepted += receipt.status == "accepted"
                report.duplicate += receipt.status == "duplicate"
                report.differing += receipt.differs
                report.notes.update(receipt.notes)
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


def _told(frames: Iterator[pd.DataFrame], report: Report) -> Iterator[pd.DataFrame]:
    """The frames; where reading breaks off later on, the report says from where."""
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
            whole = pd.read_excel(path, dtype=object)
        elif kind == ".parquet":
            whole = pd.read_parquet(path)
        else:
            raise SettingsError(f"{path.name}: must end in .csv, .parquet or .xlsx.")
    except FileNotFoundError:
        raise SettingsError(f"There is no file {path}.") from None
    except (csv.Error, StopIteration, ValueError, OSError) as error:
        # A parser's own words may quote the line: only the kind of fault is told.
        raise SettingsError(
            f"{path.name} cannot be read as {kind[1:]}: {type(error).__name__}."
        ) from None
    whole.index = pd.RangeIndex(2 if kind == ".xlsx" else 1, len(whole) + (kind == ".xlsx") + 1)
    for start in range(0, len(whole), _CHUNK):
        yield whole.iloc[start : start + _CHUNK]


def _csv_frames(path: Path) -> Iterator[pd.DataFrame]:
    """What is wrong with one line must not cost the others: bad bytes and surplus fields are let
    through, marked, to be refused line by line.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        first = file.readline()
        file.seek(0)
        delimiter = max(",;\t", key=first.count)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        header = next(reader, None)
        if not header:
            raise ValueError
        width = len(header)
        whole = ((reader.line_num, fields) for fields in reader if any(fields))
        while lines := dict(islice(whole, _CHUNK)):
            for fields in lines.values():
                if any(fields[width:]):
                    fields[0] = _SURPLUS + fields[0]
                    fields[width - 1] = delimiter.join(fields[width - 1 :])
                fields += [""] * (width - len(fields))
                del fields[width:]
            yield pd.DataFrame(
                list(lines.values()), index=list(lines), columns=header, dtype=object
            )


def _fault(line: dict[str, Any]) -> str | None:
    """What is wrong with a line before its fields are looked at."""
    texts = [value for value in line.values() if isinstance(value, str)]
    if any(text.startswith(_SURPLUS) for text in texts):
        return "the line has more fields than the header; a comma may want quotes around its field"
    if any("\udc80" <= char <= "\udcff" for text in texts for char in text if char > "\ud800"):
        return "the line is not UTF-8 text; save the file as CSV UTF-8"
    return None


def _check_header(path: Path, columns: list[str], aliases: set[str]) -> None:
    if any(not char.isprintable() for name in columns for char in str(name)):
        raise SettingsError(_NOT_UTF8.format(path.name))
    allowed = {*intake.FIELDS, *intake.ALIASES, *aliases, REASON}
    # A file without a header has a person in its place: only what is nearly a name is repeated.
    hints = [
        f"{name} {near}" if (near := _near(str(name), allowed)) else f"the {number}."
        for number, name in enumerate(columns, 1)
        if name not in allowed
    ]
    if hints:
        raise SettingsError(
            f"{path.name}: unknown columns in its first line: {', '.join(hints)}. Nothing was "
            f"taken. The columns are {', '.join(intake.FIELDS)}."
        )
    if "event_name" not in columns:
        raise SettingsError(f"{path.name}: the column event_name is missing. Nothing was taken.")


def _near(name: str, known: Any) -> str:
    near = difflib.get_close_matches(str(name), [str(one) for one in known], 1)
    return f"(did you mean {near[0]}?)" if near else ""


def _absent(value: Any) -> bool:
    if value is None or isinstance(value, str):
        return not value
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _not_erased(
    connection: Connection,
    frame: pd.DataFrame,
    reasons: dict[int, str],
    owners: dict[int, intake.Brand],
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
    erased = refused_files.erased_among(connection, set().union(*lines.values()))
    kept = []
    for index, found in lines.items():
        brand_id = owners[index].id if index in owners else None
        if not any(one in found and brand_id in (None, brand) for brand, one in erased):
            people.setdefault(brand_id, set()).update(found)
            kept.append(index)
    return kept


def _write(target: Path, lines: pd.DataFrame) -> Path:
    lines = lines.map(lambda v: v.removeprefix(_SURPLUS) if isinstance(v, str) else v)
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
