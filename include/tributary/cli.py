"""The command line: `tributary COMMAND`. Each command sets up what it needs."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
import psycopg
from rich.console import Console
from rich.table import Table

from tributary import config, warehouse
from tributary.errors import SettingsError, TributaryError
from tributary.orchestration import deployment
from tributary.settings.apply import apply
from tributary.settings.models import AD_ACCOUNTS
from tributary.settings.read import read

# A checkout has the local installation; an installed package and the image have not.
HAS_LOCAL = importlib.util.find_spec("tributary.local") is not None


# What `tributary --help` lists under which heading.
_SECTIONS = {
    "Set up": ("configure", "prepare", "env", "up", "down"),
    "See": ("status", "docs"),
    "Ads in": ("accounts",),
    "Conversions in": ("events", "webhooks", "api-keys"),
    "Conversions back": ("deliveries", "destinations"),
}


class _Group(click.Group):
    """Shows errors of this project as their sentence, without a traceback."""

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by what they are for."""
        for heading, names in _SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl(
                    [
                        (name, self.commands[name].get_short_help_str(100))
                        for name in names
                        if name in self.commands
                    ]
                )

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except TributaryError as error:
            raise click.ClickException(str(error)) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise click.ClickException(
                f"The warehouse refuses it: {error.diag.message_primary}. Use a role that may read "
                "and write the schema ops; docs/marts.md says what an analyst's role may read."
            ) from error


class _NoKey(click.ClickException):
    """What a command needs is not in its environment."""

    exit_code = 2


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Tributary: ads in, conversions back, one attribution mart out."""


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--prune", is_flag=True, help="Also remove what the file does not name.")
def configure(file: Path, prune: bool) -> None:
    """Apply a settings FILE (YAML): brands, ad accounts, destinations, webhooks."""
    wanted = read(file)
    with _warehouse(migrates=True) as connection:
        for line in apply(connection, wanted, prune=prune):
            click.echo(line)
    click.echo(f"Written to the warehouse at {warehouse.where(_warehouse_uri())}.")
    if not os.environ.get("TRIBUTARY_WAREHOUSE"):
        click.echo(
            "TRIBUTARY_WAREHOUSE is not set: this is the embedded Postgres of this checkout, which "
            "was started for it. To write to another, set TRIBUTARY_WAREHOUSE to its URI."
        )


@main.command()
def status() -> None:
    """Show what is configured, how the latest loads and uploads ended, and where to look."""
    from tributary.deliver import overview, run_state
    from tributary.platforms.meanings import meaning

    uri = _warehouse_uri()
    warehouse.check_version(uri)
    airflow = _airflow_to_ask(uri)
    with warehouse.connect(uri) as connection:
        accounts = run_state.accounts(connection)
        destinations = run_state.destinations(connection)
        outcomes = connection.execute(overview.OUTCOMES).fetchall()
        # With an Airflow they are among its problems.
        mistakes = overview.mistakes(connection) if airflow is None else []
    _print_table(
        ("brand", "ad account", "active", "last load", "result", "days", "reconciled",
         "unreconciled", "open", "paused"),
        [row.values() for row in accounts],
    )  # fmt: skip
    _print_table(
        ("brand", "destination", "platform", "active", "last sync", "result", "pending", "sent",
         "failed", "skipped", "dead", "paused", "next try"),
        [row.values() for row in destinations],
    )  # fmt: skip
    if outcomes:
        _print_table(
            ("destination", "state", "code", "deliveries", "means", "what to do"),
            [
                (row["destination"], row["sync_status"], row["outcome"], f"{row['deliveries']:,}",
                 *meaning(row["platform"], row["outcome"], row["sync_status"]))
                for row in outcomes
            ],
        )  # fmt: skip
    for mistake in mistakes:
        click.secho(f"! {mistake}", fg="yellow")
    if airflow is not None:
        _may_ask_airflow(airflow)
        _print_problems(uri)
        _check_own_page(airflow)
    if looks := list(run_state.first_looks(accounts, destinations)):
        click.echo("Look first at:")
        for look in looks:
            click.echo(f"* {look}")


def _print_table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    table = Table(*header)
    for row in rows:
        table.add_row(*("" if value is None else _shown(value) for value in row))
    Console(width=max(140, Console().width)).print(table)


def _shown(value: object) -> str:
    return f"{value:%Y-%m-%d %H:%M %Z}" if isinstance(value, datetime) else str(value)


def _airflow_to_ask(uri: str) -> dict[str, str] | None:
    """What the environment lacks for asking Airflow's metadata; None where there is no Airflow."""
    if deployment.has_airflow():
        return {}
    if HAS_LOCAL:
        from tributary.local import services

        return services.airflow_to_ask(uri)
    return {} if deployment.has_airflow_home() else None


def _check_own_page(variables: dict[str, str]) -> None:
    """Check the page of the Airflow that `tributary up` has started, if it runs."""
    if HAS_LOCAL:
        from tributary.local import services

        if services.process("airflow") is not None:
            services.check_page(variables or dict(os.environ))


def _may_ask_airflow(variables: dict[str, str]) -> None:
    """Let this process ask Airflow's metadata; before anything of Airflow is imported."""
    # Whoever runs a command can do nothing about warnings of Airflow's imports.
    warnings.simplefilter("ignore")
    os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "CRITICAL")
    os.environ.update(variables)
    # Airflow's SDK looks into the metadata database for connections only in its own processes.
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"


def _print_problems(uri: str) -> None:
    """Print what keeps Airflow from doing its work, one sentence a line."""
    from sqlalchemy.exc import SQLAlchemyError

    from tributary.orchestration import health

    try:
        with warehouse.connect(uri, autocommit=True) as connection:
            for problem in health.problems(connection):
                click.secho(f"! {problem.says}", fg="yellow")
            if paused := health.paused_dags(connection):
                click.secho(
                    f"! Paused, so they do nothing: {', '.join(paused)}. Switch each on in "
                    "Airflow, or with `airflow dags unpause DAG`.",
                    fg="yellow",
                )
    except SQLAlchemyError as error:
        kind = type(error).__name__
        click.secho(f"! Airflow's metadata database cannot be asked ({kind}).", fg="yellow")


@main.group()
def events() -> None:
    """Take in conversions."""


@events.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--brand", help="Slug, for lines without a brand of their own.")
def import_events(file: Path, brand: str | None) -> None:
    """Take conversions from a FILE (CSV, Parquet, Excel); a repeat changes nothing."""
    from tributary.deliver import outbox
    from tributary.deliver.files import import_file
    from tributary.platforms.meanings import meaning

    with _warehouse() as connection:
        report = import_file(connection, file, brand, outbox.now_of(connection))
    for line, reason in report.refused:
        click.echo(f"line {line}: {reason}")
    click.echo(
        f"{report.accepted:,} accepted, {report.duplicate:,} duplicate, "
        f"{len(report.refused):,} refused"
    )
    if report.differing:
        click.echo(
            f"{report.differing:,} of the duplicates have another amount than the event that came "
            "first, which stays as it was: an import changes none. Correct the amount where the "
            "event came from."
        )
    for note, number in report.notes.most_common():
        click.echo(f"{number:,} accepted lines: {note}")
    for (destination, platform, outcome), number in sorted(
        report.deliveries.items(), key=lambda item: (item[0].destination, item[0].outcome or "")
    ):
        if outcome is None:
            click.echo(f"{destination}: {number:,} wait for the next run of upload_conversions")
        else:
            why = meaning(platform, outcome, "skipped")
            click.echo(f"{destination}: {number:,} skipped as {outcome}. {why.means} {why.to_do}")
    for slug, number in report.unsent.most_common():
        click.echo(
            f"{slug} has no active destination: {number:,} events are stored, and not sent. Add "
            "one to the settings file, then send them with `tributary deliveries backfill`."
        )
    if report.refused_file:
        click.echo(
            f"The refused lines are in {report.refused_file}: correct them and import that file."
        )
        raise SystemExit(1)


@main.group()
def deliveries() -> None:
    """Send conversions again, or older ones."""


@deliveries.command()
@click.option("--brand", help="Slug.")
@click.option("--destination", help="Name.")
@click.option("--outcome", help="Such as attempts or 100/2804009; outcome_unknown only by name.")
@click.option("--since", type=click.DateTime(), help="Only what ended since then (UTC).")
@click.option(
    "--status",
    type=click.Choice(["dead", "skipped"]),
    default="dead",
    show_default=True,
    help="Which to put back.",
)
def retry(
    brand: str | None,
    destination: str | None,
    outcome: str | None,
    since: datetime | None,
    status: str,
) -> None:
    """Put dead deliveries back into the outbox, while the platform still takes them."""
    from tributary.deliver import outbox

    with _warehouse() as connection:
        back = outbox.retry(
            connection,
            outbox.now_of(connection),
            brand=brand,
            destination=destination,
            outcome=outcome,
            since=since and since.replace(tzinfo=UTC),
            statuses=[status],
        )
    for name, number in sorted(back.items()):
        click.echo(f"{name}: {number:,} put back")
    if not back:
        hint = " Try --status skipped." if status == "dead" else ""
        click.echo(f"No {status} delivery fits that the platform still takes.{hint}")


@deliveries.command()
@click.option("--destination", required=True, help="Name.")
@click.option("--since", type=click.DateTime(), required=True, help="Earliest event time (UTC).")
def backfill(destination: str, since: datetime) -> None:
    """Also send events from before the destination was configured."""
    from tributary.deliver import outbox

    with _warehouse() as connection:
        number = outbox.backfill(
            connection, destination, since.replace(tzinfo=UTC), outbox.now_of(connection)
        )
    click.echo(f"{destination}: {number:,} deliveries added or put back")


@main.group()
def accounts() -> None:
    """Resume ad accounts."""


@accounts.command("resume")
@click.argument("account_id")
@click.option(
    "--platform",
    type=click.Choice(list(AD_ACCOUNTS)),
    default="meta",
    show_default=True,
    help="Whose account it is.",
)
def resume_account(account_id: str, platform: str) -> None:
    """End the pause of the ad account ACCOUNT_ID."""
    from tributary.warehouse.ad_accounts import resume

    account_id = account_id.removeprefix("act_")
    with _warehouse() as connection:
        was_paused = resume(connection, platform, account_id)
    if was_paused:
        click.echo(f"{account_id} is resumed; the next run loads it.")
    else:
        click.echo(f"{account_id} was not paused.")


@main.group("destinations")
def destinations_() -> None:
    """Test where conversions go."""


@destinations_.command()
@click.argument("name")
@click.option("--test-event-code", help="Of Meta's Test Events tab; else the destination's own.")
def test(name: str, test_event_code: str | None) -> None:
    """Send one test event to the destination NAME and print the platform's answer."""
    uri = _warehouse_uri()
    airflow = _airflow_to_ask(uri)
    if airflow is None:
        airflow = _local_installation()
    _may_ask_airflow(airflow)
    warehouse.check_version(uri)
    from tributary.orchestration.tasks.upload import send_test_event

    click.echo(send_test_event(name, test_event_code))


@main.group("api-keys")
def api_keys() -> None:
    """Make, list and revoke keys of the REST API."""


@api_keys.command()
@click.option("--brand", required=True, help="Slug; the key sees and changes this brand alone.")
@click.option("--name", default="", help="Who uses it, for the list.")
@click.option("--expires", type=click.DateTime(), help="Until when it is valid (UTC).")
def create(brand: str, name: str, expires: datetime | None) -> None:
    """Make a key and print it, this once."""
    from tributary.warehouse import api_keys as keys

    with _warehouse() as connection:
        key = keys.create(connection, brand, name, expires and expires.replace(tzinfo=UTC))
    click.echo(key)


@api_keys.command("list")
@click.option("--brand", help="Slug.")
def list_keys(brand: str | None) -> None:
    """List the ids of all keys; the keys themselves are not stored."""
    from tributary.warehouse import api_keys as keys

    with _warehouse() as connection:
        rows = keys.listed(connection, brand)
    header = ("id", "brand", "name", "made", "expires", "revoked", "state")
    _print_table(header, [row.values() for row in rows])


@api_keys.command()
@click.argument("key_id", metavar="ID")
def revoke(key_id: str) -> None:
    """End the key of this ID at once."""
    from tributary.warehouse import api_keys as keys

    with _warehouse() as connection:
        keys.revoke(connection, key_id)
    click.echo(f"{key_id}: revoked")


@main.group("webhooks")
def webhooks_() -> None:
    """Process kept webhook payloads again."""


@webhooks_.command()
@click.option("--brand", help="Slug.")
@click.option("--source", help="Such as stripe.")
def replay(brand: str | None, source: str | None) -> None:
    """Process the payloads of the last seven days again; repeats change nothing."""
    key = config.known_payload_key()
    if key is None:
        raise _NoKey(
            "TRIBUTARY_SECRET_KEY is not set, and only with the key of the edge that took the "
            "payloads can they be read: take it from the edge's environment (in the team "
            "deployment: `docker compose exec edge tributary webhooks replay`)."
        )
    os.environ["TRIBUTARY_SECRET_KEY"] = key
    from tributary.api.webhooks import take

    with _warehouse() as connection:
        counts = take.replay(connection, brand=brand, source=source)
    if counts.get(take.OF_ANOTHER_KEY) and sum(counts.values()) == counts[take.OF_ANOTHER_KEY]:
        raise _NoKey(
            f"TRIBUTARY_SECRET_KEY reads none of the {counts[take.OF_ANOTHER_KEY]:,} payloads: "
            "they were encrypted with another key. Set that of the edge that took them; separate "
            "several by commas."
        )
    click.echo(", ".join(f"{number:,} {what}" for what, number in counts.items()))


@contextmanager
def _warehouse(*, migrates: bool = False) -> Iterator[warehouse.Connection]:
    uri = _warehouse_uri()
    (warehouse.migrate if migrates else warehouse.check_version)(uri)
    with warehouse.connect(uri, autocommit=True) as connection:
        yield connection


def _warehouse_uri() -> str:
    """`TRIBUTARY_WAREHOUSE`; in a checkout without it, the embedded server, which is started.

    Raises:
        SettingsError: it is not set, and a deployment's Airflow is configured, or this is an
            installed package; or it is no `postgresql://` URI.
    """
    if not HAS_LOCAL:
        return config.warehouse_uri()
    from tributary.local import services

    return services.warehouse_uri()


def _local_installation() -> dict[str, str]:
    """Set up the local installation where that is possible; returns its environment.

    Raises:
        SettingsError: this is an installed package, and no Airflow is configured.
    """
    if not HAS_LOCAL:
        raise SettingsError(
            "No Airflow is configured in this environment: run this where Airflow runs, with its "
            f"AIRFLOW_HOME or {deployment.METADATA}."
        )
    from tributary.local import services

    return services.ready()


@main.command()
def prepare() -> None:
    """Bring the warehouse and Airflow's metadata to this version of the project."""
    uri = _warehouse_uri()
    if deployment.has_airflow() or (deployment.has_airflow_home() and not HAS_LOCAL):
        deployment.prepare(uri)
    else:
        _local_installation()
    click.echo(f"The warehouse at {warehouse.where(uri)} is ready.")


@main.command()
def docs() -> None:
    """Write dbt's documentation of all models as one HTML page, and print where it is.

    It reads the warehouse and changes nothing there: a user who may only read can run it.
    """
    from tributary import dbt_run
    from tributary.errors import BuildFailed

    uri = _warehouse_uri()
    warehouse.connect(uri).close()  # says in one sentence why it does not answer
    environment = config.dbt_environment(uri)
    # Not compiled: that asks the schema `staging`, which a reader of the marts need not see.
    for step in (["parse"], ["docs", "generate", "--no-compile", "--static"]):
        ended = dbt_run.invoke(environment, "--quiet", *step)
        if not ended.success:
            why = ended.exception or "see its output above"
            raise BuildFailed(f"dbt could not write the documentation: {why}")
    click.echo(f"file://{environment['DBT_TARGET_PATH']}/static_index.html")


# Where there is no local installation there are no commands for it.
_local_command = main.command if HAS_LOCAL else click.command


@_local_command()
def env() -> None:
    """Print `export …` lines that make plain airflow, dbt and psql work."""
    from tributary.local import home, services

    click.echo(home.shell_lines(services.ready()))


@_local_command()
def up() -> None:
    """Start Airflow, and the sandbox where the settings use it, in the background."""
    from tributary.local import home, services

    home.refuse_a_shells_airflow()
    variables = services.ready()
    sandbox = None
    if services.uses_sandbox(variables["TRIBUTARY_WAREHOUSE"]):
        sandbox = services.start_sandbox(variables)
    variables = services.start_airflow(variables)
    click.echo(f"Airflow   {variables['AIRFLOW__API__BASE_URL']}")
    _may_ask_airflow(variables)
    from tributary.orchestration import health

    for user in health.users():
        click.echo(f"          user {user}, password {services.password(variables, user)}")
    if sandbox is not None:
        click.echo(f"Sandbox   {sandbox}")
    click.echo("`make down` stops what runs.")
    _print_problems(variables["TRIBUTARY_WAREHOUSE"])
    services.check_page(variables)


@_local_command()
def down() -> None:
    """Stop Airflow, the sandbox and the embedded Postgres."""
    from tributary.local import embedded, services

    for name in ("airflow", "sandbox"):
        click.echo(f"{name}: {'stopped' if services.stop(name) else 'was not running'}")
    click.echo(f"postgres: {'stopped' if embedded.stop() else 'was not running'}")
