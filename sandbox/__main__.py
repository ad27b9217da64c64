"""`python -m sandbox`: the sandbox in the foreground, until SIGTERM or Ctrl-C."""

import signal
import threading
from datetime import UTC, datetime

import click

from sandbox.server import Sandbox
from sandbox.state import DEFAULT_START
from sandbox.world import Clock, World


@click.command()
@click.option("--port", default=0, show_default="any free one", help="Port on 127.0.0.1.")
@click.option("--ads-port", default=0, help="Port of the Google Ads API; 0: it does not run.")
@click.option("--unmatched", default=0, help="Percent of conversions without a click.")
@click.option(
    "--start",
    type=click.DateTime(["%Y-%m-%d"]),
    # A fixed day: were it relative to today, each restart would rewrite the past.
    default=DEFAULT_START.isoformat(),
    show_default=True,
    help="First day with data.",
)
@click.option(
    "--now", metavar="ISO", help="Stand still at this time (UTC) instead of the real one."
)
@click.option("--latency", default=0.0, help="Seconds that every call takes.")
def main(
    port: int, ads_port: int, unmatched: int, start: datetime, now: str | None, latency: float
) -> None:
    """Serve the sandbox and print its URL."""
    clock = Clock()
    if now is not None:
        moment = datetime.fromisoformat(now)
        clock.set(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    world = World(start.date())
    with Sandbox(world, clock=clock, port=port, ads_port=ads_port, latency=latency) as sandbox:
        sandbox.google.unmatched_percent = unmatched
        click.echo(sandbox.url)
        if ads_port:
            click.echo(sandbox.ads_url)
        stop.wait()


if __name__ == "__main__":
    main()
