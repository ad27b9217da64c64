"""The `filtering` and `effective_status` parameters, as a test of objects."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from sandbox.errors import bad_parameter
from sandbox.objects import EFFECTIVE_STATUSES, HIDDEN, AdObject, ancestors, effective_status
from sandbox.params import Params, each_in, json_list, json_value

_OPERATORS = {"effective_status": "IN", "id": "IN", "updated_time": "GREATER_THAN"}


class Filter(NamedTuple):
    """One condition, such as `ad.effective_status IN [...]`."""

    kind: str  # campaign, adset, ad
    attribute: str  # effective_status, id, updated_time
    value: Any

    def accepts(self, node: AdObject, now: datetime) -> bool:
        """Whether the object, or the one of that kind it belongs to, meets the condition."""
        subject = next(member for member in ancestors(node) if member.kind == self.kind)
        if self.attribute == "id":
            return subject.id in self.value
        if self.attribute == "effective_status":
            return effective_status(subject, now) in self.value
        return bool(subject.life.updated(now).timestamp() > self.value)


def parse(params: Params, kinds: tuple[str, ...]) -> list[Filter]:
    """The filters on objects of those kinds; anything else is refused."""
    items = json_value(params, "filtering")
    if items is None:
        return []
    if not isinstance(items, list):
        raise bad_parameter("Param filtering must be an array.")
    return [_parse_one(item, index, kinds) for index, item in enumerate(items)]


def _parse_one(item: Any, index: int, kinds: tuple[str, ...]) -> Filter:
    if not isinstance(item, dict) or set(item) != {"field", "operator", "value"}:
        raise bad_parameter(f"filtering[{index}] must have exactly field, operator and value.")
    kind, _, attribute = str(item["field"]).partition(".")
    if kind not in kinds or attribute not in _OPERATORS:
        raise bad_parameter(f"Filtering field {item['field']} is invalid.")
    if item["operator"] != _OPERATORS[attribute]:
        raise bad_parameter(
            f"Filtering field {item['field']} with operator {item['operator']} is not supported."
        )
    value = item["value"]
    if attribute == "updated_time":
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise bad_parameter(f"filtering[{index}][value] must be a unix timestamp.")
        return Filter(kind, attribute, value)
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise bad_parameter(f"filtering[{index}][value] must be an array of strings.")
    if attribute == "effective_status":
        each_in(f"filtering[{index}][value]", value, EFFECTIVE_STATUSES[kind])
    return Filter(kind, attribute, frozenset(value))


def listing_test(params: Params, kind: str, now: datetime) -> Callable[[AdObject], bool]:
    """Which objects of a kind a listing shows; archived and deleted ones only if asked for."""
    kinds = ("campaign", "adset", "ad")
    filters = parse(params, kinds[: kinds.index(kind) + 1])
    wanted = json_list(params, "effective_status")
    each_in("effective_status", wanted, EFFECTIVE_STATUSES[kind])
    if wanted:
        filters.append(Filter(kind, "effective_status", frozenset(wanted)))
    since = params.get("updated_since")
    if since is not None:
        if not since.isdecimal():
            raise bad_parameter("Param updated_since must be a unix timestamp.")
        filters.append(Filter(kind, "updated_time", int(since)))

    def shown(node: AdObject) -> bool:
        return (
            node.life.created <= now
            and (asks_for_status(filters, kind) or effective_status(node, now) not in HIDDEN)
            and all(one.accepts(node, now) for one in filters)
        )

    return shown


def asks_for_status(filters: list[Filter], kind: str) -> bool:
    """Whether the caller says itself which statuses of that kind it wants."""
    return any(one.kind == kind and one.attribute == "effective_status" for one in filters)
