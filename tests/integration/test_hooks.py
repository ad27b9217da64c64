"""Each platform's Airflow hook: its connection type, and that Airflow can find it."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from tributary.deliver.destinations import Destination
from tributary.errors import SettingsError
from tributary.platforms import registry
from tributary.settings.models import Brand

pytestmark = pytest.mark.usefixtures("postgres")  # sets Airflow's variables before its first import


@pytest.mark.parametrize("name", registry.names())
def test_a_platform_has_its_connection_and_its_hook(name: str) -> None:
    """Airflow shows no form for the connection, or its Test button fails."""
    from tributary.orchestration import provider
    from tributary.platforms.hook import PlatformHook

    connection = registry.platform(name).connection
    hook: Any = registry.hook_class(name)
    assert issubclass(hook, PlatformHook)
    assert {"clients", "check"} <= vars(hook).keys()
    assert (hook.conn_type, hook.hook_name) == (connection.conn_type, connection.title)
    types = {
        one["connection-type"]: one for one in provider.get_provider_info()["connection-types"]
    }
    assert types[connection.conn_type]["hook-class-name"] == connection.hook
    assert set(types) == {*registry.names(), "tributary_webhook"}


def test_an_unknown_platform_has_no_senders() -> None:
    """A destination of an unknown platform is uploaded to by the rules of another one."""
    from tributary.orchestration.tasks.upload import senders_to

    moment = datetime(2026, 1, 1, tzinfo=UTC)
    brand = Brand.model_validate(
        {"slug": "acme", "name": "Acme", "reporting_currency": "USD", "time_zone": "UTC"}
    )
    unknown = Destination("acme-x", "tiktok", "x_acme", True, moment, {}, uuid4(), "acme", brand)
    with pytest.raises(SettingsError, match="There is no destination platform 'tiktok'"):
        senders_to(unknown)
