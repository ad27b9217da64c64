"""A build that the warehouse interrupted is tried again; one that would fail again is not."""

from __future__ import annotations

import psycopg2
import pytest
from tributary import config, dbt_run

from tests.support.marts import Warehouse, ad


@pytest.mark.parametrize(
    ("code", "passes"),
    [
        ("40P01", True),  # deadlock detected
        ("40001", True),  # could not serialize access
        ("55P03", True),  # canceling statement due to lock timeout
        ("53300", True),  # too many clients
        ("57P03", True),  # the database system is starting up
        ("53100", False),  # disk full
        ("57014", False),  # statement timeout, or a person who cancelled
        ("22P02", False),  # invalid input
        ("42P01", False),  # no such table
        ("23505", False),  # duplicate key
    ],
)
def test_what_can_pass_is_known_by_postgres_code(postgres: str, code: str, passes: bool) -> None:
    """A deadlock leaves the marts stale for an hour, or a broken model is built four times."""
    connection = psycopg2.connect(postgres)
    with pytest.raises(psycopg2.Error) as caught, connection.cursor() as cursor:
        cursor.execute(f"do $$ begin raise exception 'said so' using errcode = '{code}'; end $$")
    connection.close()
    assert dbt_run.interruption([ValueError("else"), caught.value]) == (
        "said so" if passes else None
    )


def test_a_connection_that_is_never_made_can_pass(postgres: str) -> None:
    """A warehouse that is just being restarted costs a whole build."""
    ended = dbt_run.invoke(
        config.dbt_environment("postgresql://u:unused@127.0.0.1:1/nowhere"), "--quiet", "run"
    )
    assert ended.result is None
    assert "Connection refused" in (dbt_run.interruption(ended.raised) or "")


@pytest.mark.slow
def test_a_build_whose_connection_is_killed_is_tried_again(
    airflow: None,
    warehouse: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """One lost connection leaves the marts of all brands stale until the next build."""
    from airflow.dag_processing.dagbag import DagBag

    world = Warehouse(warehouse)
    for account_id, brand in (("100", "acme"), ("200", "lumen")):
        world.account(account_id, "EUR", brand=brand)
        world.load(account_id, "2026-03-01", [ad(account_id, "10")], currency="EUR")
    # The node that reads the exchange rates first loses its connection while it does.
    world.execute("drop table app.exchange_rates")
    world.execute("create sequence public.readings")
    world.execute(
        "create view app.exchange_rates as select date '2026-03-01' as rate_date, 'EUR' as base, "
        "'USD' as quote, 1.2 as rate where not case nextval('public.readings') "
        "when 1 then pg_terminate_backend(pg_backend_pid()) else false end"
    )
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", warehouse)
    run = DagBag(config.ROOT / "dags").dags["build_marts"].test()
    assert [(str(task.state), task.try_number) for task in run.get_task_instances()] == [
        ("success", 2)
    ]
    assert world.rows(
        "select brand_slug, spend, reporting_spend from marts.ad_spend order by brand_slug"
    ) == [
        {"brand_slug": "acme", "spend": 10, "reporting_spend": 12},  # in USD
        {"brand_slug": "lumen", "spend": 10, "reporting_spend": 10},
    ]
    world.connection.close()
    assert "The warehouse interrupted the build: " in "".join(capfd.readouterr())


@pytest.mark.slow
@pytest.mark.parametrize("node", ["base_app__repeated_transactions", "int_purchases"])
def test_a_build_under_which_a_view_changed_is_tried_again(
    airflow: None, warehouse: str, monkeypatch: pytest.MonkeyPatch, node: str
) -> None:
    """An order that a shop's view shows twice since a moment ago stops all brands' marts."""
    from airflow.dag_processing.dagbag import DagBag

    world = Warehouse(warehouse)
    world.purchase("once", "p1", "2026-03-01", "10")
    world.purchase("once", "p2", "2026-03-01", "5", brand="lumen")
    # The second row comes when the build has looked for keys that are there twice: before a test
    # looks again, or later, while the first table is made.
    first_seen = {
        "base_app__repeated_transactions": f"to_regclass('staging.{node}') is not null",
        "int_purchases": f"""case
            when current_query() like '%"model.tributary.{node}"%' then nextval('public.came') > 0
            else (select is_called from public.came)
        end""",
    }
    world.execute("create sequence public.came")
    world.execute("alter table app.transactions rename to orders")
    world.execute(
        "create view app.transactions as select * from app.orders union all "
        "select transaction_id, brand_slug, profile_id, status, amount + 1, currency, "
        "transacted_at, refunded_amount, refunded_at, updated_at, event_id, action_source, "
        "event_source_url, ip, "
        "user_agent, fbp, fbc from app.orders where brand_slug = 'acme' "
        "and transaction_id = 'once' "
        f"and {first_seen[node]}"
    )
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", warehouse)
    run = DagBag(config.ROOT / "dags").dags["build_marts"].test()
    assert [(str(task.state), task.try_number) for task in run.get_task_instances()] == [
        ("success", 2)
    ]
    held = world.rows("select brand_slug from marts.ad_attributions where transaction_id = 'once'")
    assert held == [{"brand_slug": "lumen"}]
    problems = world.rows("select brand_slug, key, problem from marts.data_problems")
    assert problems == [{"brand_slug": "acme", "key": "once", "problem": "duplicate"}]
    world.connection.close()
