"""The command line: `python -m include.cli COMMAND`. Each command sets up what it needs."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from include import home, services, settings, warehouse
from include.errors import TributaryError
from include.warehouse import embedded


class _Group(click.Group):
    """Errors of ours are told in their own sentence, without a traceback."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except TributaryError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Tributary: ads in, conversions back, one attribution mart out."""


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--prune", is_flag=True, help="Also remove what the file does not name.")
def configure(file: Path, prune: bool) -> None:
    """Apply a settings FILE (YAML): brands, ad accounts, destinations, webhooks."""
    wanted = settings.read(file)
    uri = services.warehouse_uri()
    warehouse.migrate(uri)
    with warehouse.connect(uri, autocommit=True) as connection:
        for line in settings.apply(connection, wanted, prune=prune):
            click.echo(line)


@main.command()
def status() -> None:
    """What is configured, and what became of the latest loads."""
    uri = services.warehouse_uri()
    warehouse.migrate(uri)
    table = Table(
        "brand", "ad account", "active", "last load", "result", "days", "reconciled",
        "unreconciled", "open", "paused",
    )  # fmt: skip
    with warehouse.connect(uri) as connection:
        for row in connection.execute(
            "select b.slug, a.account_id, a.is_active, a.last_sync_at, a.last_sync_status, "
            "count(l.date) as days, "
            "count(*) filter (where l.status = 'reconciled') as reconciled, "
            "count(*) filter (where l.status = 'unreconciled') as unreconciled, "
            "count(*) filter (where l.status = 'loaded') as open, "
            "case when a.paused_until > now() then a.paused_reason end as paused "
            "from ops.ad_accounts as a inner join ops.brands as b on b.id = a.brand_id "
            "left join ops.loads as l on l.account_id = a.account_id "
            "group by b.slug, a.platform, a.account_id order by b.slug, a.account_id"
        ):
            table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console(width=max(140, Console().width)).print(table)


@main.command()
def prepare() -> None:
    """Bring the warehouse and Airflow's metadata to this version of the project."""
    variables = services.ready()
    click.echo(f"The warehouse at {warehouse.where(variables['TRIBUTARY_WAREHOUSE'])} is ready.")


@main.command()
def env() -> None:
    """Print `export …` lines that make plain airflow, dbt and psql work."""
    click.echo(home.shell_lines(services.ready()))


@main.command()
def up() -> None:
    """Start Airflow and the sandbox in the background."""
    variables = services.ready()
    sandbox = services.start_sandbox(variables)
    services.start_airflow(variables)
    click.echo(f"Airflow   {variables['AIRFLOW__API__BASE_URL']}")
    click.echo(f"          user admin, password {home.secret('ui_password')}")
    click.echo(f"Sandbox   {sandbox}")
    click.echo("`make down` stops them.")


@main.command()
def down() -> None:
    """Stop Airflow, the sandbox and the embedded Postgres."""
    for name in ("airflow", "sandbox"):
        click.echo(f"{name}: {'stopped' if services.stop(name) else 'was not running'}")
    click.echo(f"postgres: {'stopped' if embedded.stop() else 'was not running'}")


if __name__ == "__main__":
    main()
