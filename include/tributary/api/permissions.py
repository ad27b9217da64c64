"""Who may do what: the one table for the REST API, in Airflow (the page included) and at the edge.

In Airflow an action needs a permission on a DAG, as Airflow's own auth manager knows them. At the
edge it needs an API key, which is for one brand and allows every route of the edge. What changes
anything is in the audit trail before it is done: in Airflow's audit log, at the edge in
`ops.audit_log`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from fastapi import FastAPI
from fastapi.routing import APIRoute

UPLOAD_DAG = "upload_conversions"
LOAD_DAG = "extract_meta_ads"


class Need(NamedTuple):
    """The permission that an action needs in Airflow."""

    method: Literal["GET", "POST", "PUT", "DELETE"]  # see, create, edit, delete
    of_runs: bool = False  # of the DAG's runs, not of the DAG itself
    dag: str = UPLOAD_DAG
    event: str | None = None  # how the audit trail calls it, where not by the action's own name

    @property
    def changes(self) -> bool:
        """Whether it is in the audit trail."""
        return self.method != "GET"

    def in_words(self) -> str:
        """The permission, as a sentence goes on after `may not`."""
        verb = {"GET": "see", "POST": "create", "PUT": "edit", "DELETE": "delete"}[self.method]
        return f"{verb} {'runs of ' if self.of_runs else ''}the DAG {self.dag}"


_SEE = Need("GET")
_TRIGGER = Need("POST", of_runs=True)
_EDIT = Need("PUT")
_ERASE = Need("DELETE")

# By module and function of the route.
NEEDS = {
    "app.openapi": _SEE,
    "conversions.find": _SEE,
    "conversions.read": _SEE,
    "destinations.listed": _SEE,
    "sync.status": _SEE,
    "conversions.create": _TRIGGER,
    "conversions.create_batch": _TRIGGER,
    "sync.start": _TRIGGER,
    "conversions.change": _EDIT,
    "destinations.change": _EDIT,
    "conversions.erase": _ERASE,
    "erasure.erase": _ERASE,
    "operations.figures": _SEE,
    "operations.loads": _SEE,
    "operations.problems": _SEE,
    "operations.match_quality": _SEE,
    "operations.retry": _EDIT._replace(event="retry_dead"),
    "operations.resume_account": Need("PUT", dag=LOAD_DAG, event="resume_account"),
}
# Without a login: the page, which has no figure in it, the edge's health, and webhooks, which are
# signed.
PUBLIC = {"page.index", "page.static", "app.health", "receive.post"}


def action(endpoint: Callable[..., Any]) -> str:
    """The action of a route's function, as the table names it."""
    return f"{endpoint.__module__.rpartition('.')[2]}.{endpoint.__name__}"


def need_of(endpoint: Callable[..., Any]) -> Need:
    """What a route's function needs."""
    return NEEDS[action(endpoint)]


def event(name: str) -> str:
    """How the audit trail calls an action."""
    return f"tributary_{NEEDS[name].event or name.replace('.', '_')}"


def check(app: FastAPI) -> None:
    """Make sure that the table knows all routes of an app.

    Raises:
        LookupError: names those that it does not know.
    """
    actions = {action(route.endpoint) for route in app.routes if isinstance(route, APIRoute)}
    if unknown := sorted(actions - NEEDS.keys() - PUBLIC):
        raise LookupError(f"tributary.api.permissions does not say who may: {', '.join(unknown)}")
