"""What was found to work for an ad account; kept from run to run, and tried anew after a week."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


def bare(name: str) -> str:
    """A field without the fields that are asked of it: `creative{id}` → `creative`."""
    return name.partition("{")[0]


@dataclass
class Plan:
    """How an account's data is asked for.

    Attributes:
        page_size: rows of a page of ad insights.
        days: days of one query of ad insights.
        account_days: days of one query of the account's own totals.
        asynchronous: whether ad insights are asked for as report runs, however few they are.
        reports: whether report runs come to an end for this account.
        edge_pages: edge → objects of a page, where fewer than usual worked.
        left_out: `edge.field` that Meta does not give for this account.
        refused_statuses: `edge.STATUS` that Meta refuses in a filter.
        more_statuses: statuses that the account's ads have and the SDK does not list.
        unreadable: ids of objects that Meta names in insights and does not give, and `id.field` of
            those of which it does not give a field.
    """

    page_size: int = 500
    days: int = 92
    account_days: int = 1200
    asynchronous: bool = False
    reports: bool = True
    edge_pages: dict[str, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    refused_statuses: list[str] = field(default_factory=list)
    more_statuses: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, learned: Mapping[str, Any]) -> Plan:
        """The plan that was kept; what another version has kept and this one lacks is ignored."""
        usual = cls()
        return cls(
            **{
                one.name: learned[one.name]
                for one in fields(cls)
                if type(learned.get(one.name)) is type(getattr(usual, one.name))
            }
        )

    def given(self, edge: str, names: tuple[str, ...]) -> tuple[str, ...]:
        """The fields of an edge, without those that Meta does not give."""
        return tuple(name for name in names if f"{edge}.{bare(name)}" not in self.left_out)

    def statuses(self, edge: str, known: tuple[str, ...]) -> list[str]:
        """The statuses to ask for, so that what is archived or deleted comes as well."""
        more = self.more_statuses if edge in ("ads", "ad insights") else []
        return [one for one in (*known, *more) if f"{edge}.{one}" not in self.refused_statuses]
