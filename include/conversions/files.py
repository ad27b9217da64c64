"""A file drop: CSV, Parquet or Excel into intake, line by line, with a report a person can act on.

Lines that are refused are written to a file of the same form beside it, with a column `reason`;
mended, it can be imported again. Importing a file twice changes nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from include.conversions import intake
from include.errors import SettingsError
from include.warehouse import Connection

_CHUNK = 5_000
_NOT_UTF8 = "{} is not UTF-8 text: save it as CSV UTF-8. Nothing was taken."
_SURPLUS = "\ue000"  # marks a line with surplus fields; a private character of Unicode
REASON = "reason"  # the column of a file of refused lines


@dataclass
class Report:
    """What became of a file's lines."""

    accepted: int = 0
    duplicate: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)  # line number and reason
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
    first_line = 2 if path.suffix.lower() in (".csv", ".xlsx", ".xls") else 1
    for number, frame in enumerate(_frames(path)):
        _check_header(path, list(frame.columns), {n for b in known.values()
                      for n in b.settings.get("property_aliases", {})})  # fmt: skip
        reasons: dict[int, str] = {}
        by_brand: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        for index, line in enumerate(frame.to_dict("records")):
            line = {str(k): v for k, v in line.items() if not _absent(v) and k != REASON}
            fault = _fault(line)
            slug = str(line.pop("brand", None) or brand or "")
            if fault:
                reasons[index] = fault
            elif slug not in known:
                reasons[index] = (
                    f"brand: there is no brand {slug!r}. {_near(slug, known)}".rstrip()
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
                report.accepted += receipt.status == "accepted"
                report.duplicate += receipt.status == "duplicate"
                if receipt.status == "refused":
                    reasons[index] = str(receipt.reason)
        offset = number * _CHUNK + first_line
        report.refused += [(offset + index, reasons[index]) for index in sorted(reasons)]
        if reasons:
            rest = frame.iloc[sorted(reasons)].copy()
            rest[REASON] = [reasons[index] for index in sorted(reasons)]
            refused.append(rest)
    if refused:
        report.refused_file = _write(path, pd.concat(refused))
    return report


def _frames(path: Path) -> Iterator[pd.DataFrame]:
    """The file in pieces of 5,000 lines, values as text where the format has no types."""
    kind = path.suffix.lower()
    try:
        if kind == ".csv":
            # What is wrong with one line must not cost the others: bad bytes and surplus fields
            # are let through here, marked, and refused line by line.
            reader = pd.read_csv(
                path, dtype=object, keep_default_na=False, chunksize=_CHUNK, encoding="utf-8-sig",
                encoding_errors="surrogateescape", engine="python",
                on_bad_lines=lambda fields: _marked(fields, _width(path)),
            )  # fmt: skip
            yield from (piece.reset_index(drop=True) for piece in reader)
            return
        if kind in (".xlsx", ".xls"):
            whole = pd.read_excel(path, dtype=object)
        elif kind == ".parquet":
            whole = pd.read_parquet(path)
        else:
            raise SettingsError(f"{path.name}: must end in .csv, .parquet or .xlsx.")
    except FileNotFoundError:
        raise SettingsError(f"There is no file {path}.") from None
    except UnicodeError:
        raise SettingsError(_NOT_UTF8.format(path.name)) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, OSError) as error:
        raise SettingsError(f"{path.name} cannot be read as {kind[1:]}: {_first(error)}") from None
    for start in range(0, len(whole), _CHUNK):
        yield whole.iloc[start : start + _CHUNK].reset_index(drop=True)


@cache
def _width(path: Path) -> int:
    header = pd.read_csv(
        path, nrows=0, encoding="utf-8-sig", encoding_errors="surrogateescape", engine="python"
    )
    return len(header.columns)


def _marked(fields: list[str], width: int) -> list[str]:
    rest = ",".join(fields[width - 1 :])
    return [_SURPLUS + fields[0], *fields[1 : width - 1], rest]


def _fault(line: dict[str, Any]) -> str | None:
    """What is wrong with a line before its fields are looked at."""
    texts = [value for value in line.values() if isinstance(value, str)]
    if any(text.startswith(_SURPLUS) for text in texts):
        return "the line has more fields than the header; a comma may want quotes around its field"
    if any("\udc80" <= char <= "\udcff" for text in texts for char in text if char > "\ud800"):
        return "the line is not UTF-8 text; save the file as CSV UTF-8"
    return None


def _first(error: Exception) -> str:
    """What kind of fault it is; a parser's own words may quote the line."""
    return type(error).__name__


def _check_header(path: Path, columns: list[str], aliases: set[str]) -> None:
    if any(not char.isprintable() for name in columns for char in str(name)):
        raise SettingsError(_NOT_UTF8.format(path.name))
    allowed = {*intake.FIELDS, *intake.ALIASES, *aliases, REASON}
    unknown = [str(name) for name in columns if name not in allowed]
    if unknown:
        hints = [f"{name} {_near(name, allowed)}".rstrip() for name in unknown]
        raise SettingsError(
            f"{path.name}: unknown columns: {'; '.join(hints)}. Nothing was taken. The columns are "
            f"{', '.join(intake.FIELDS)}."
        )
    if "event_name" not in columns:
        raise SettingsError(f"{path.name}: the column event_name is missing. Nothing was taken.")


def _near(name: str, known: Any) -> str:
    near = difflib.get_close_matches(str(name), [str(one) for one in known], 1)
    return f"(did you mean {near[0]}?)" if near else ""


def _absent(value: Any) -> bool:
    if value is None or value == "":
        return True
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _write(path: Path, lines: pd.DataFrame) -> Path:
    target = path.with_name(f"{path.stem}.refused{path.suffix}")
    lines = lines.map(lambda v: v.removeprefix(_SURPLUS) if isinstance(v, str) else v)
    if path.suffix.lower() == ".csv":
        lines.to_csv(target, index=False, errors="surrogateescape")
    elif path.suffix.lower() == ".parquet":
        lines.to_parquet(target, index=False)
    else:
        lines.to_excel(target, index=False)
    target.chmod(0o600)  # personal data, as it was handed in
    return target
