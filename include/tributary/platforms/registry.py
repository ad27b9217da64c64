"""The destination platforms, each imported when it is first asked for.

A new platform is a folder beside this file and one line here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tributary.errors import SettingsError

if TYPE_CHECKING:
    from tributary.platforms.base import Platform
    from tributary.platforms.hook import PlatformHook
    from tributary.platforms.source import Source

# By the name that the settings file uses: a `Platform`, or the module whose `PLATFORM` it is.
PLATFORMS: dict[str, str | Platform[Any]] = {
    "meta": "tributary.platforms.meta.destination",
    "google_data_manager": "tributary.platforms.google_data_manager.destination",
    "google_ads": "tributary.platforms.google_ads.destination",
    "posthog": "tributary.platforms.posthog.destination",
}

# The platforms whose ad accounts are read: where the class is that reads one.
SOURCES: dict[str, str] = {"meta": "tributary.platforms.meta.source.MetaSource"}


def names() -> list[str]:
    """The names of all platforms."""
    return list(PLATFORMS)


def platform(name: str) -> Platform[Any]:
    """The platform of that name.

    Raises:
        SettingsError: there is none.
    """
    found = PLATFORMS.get(name)
    if found is None:
        raise SettingsError(
            f"There is no destination platform {name!r}: it is one of {', '.join(PLATFORMS)}."
        )
    if isinstance(found, str):
        found = PLATFORMS[name] = import_module(found).PLATFORM
    return found


def source(name: str) -> type[Source]:
    """What reads an ad account of that platform.

    Raises:
        SettingsError: its ad accounts cannot be read.
    """
    if name not in SOURCES:
        raise SettingsError(
            f"Ad accounts of {name!r} cannot be read: only those of {', '.join(SOURCES)} can."
        )
    module, _, attribute = SOURCES[name].rpartition(".")
    found: type[Source] = getattr(import_module(module), attribute)
    return found


def hook_class(name: str) -> type[PlatformHook]:
    """The class of the platform's hook; importing it imports Airflow.

    Raises:
        SettingsError: there is no such platform.
    """
    module, _, attribute = platform(name).connection.hook.rpartition(".")
    found: type[PlatformHook] = getattr(import_module(module), attribute)
    return found


def upload_hook(name: str, conn_id: str, destination: str, **options: Any) -> PlatformHook:
    """The hook of a destination's connection, whose clients have the options of an upload.

    Args:
        name: of the platform.
        destination: its name, for errors.
        options: of the client, in place of the platform's.

    Raises:
        SettingsError: there is no such platform.
    """
    options = {**platform(name).client_options, **options}
    return hook_class(name)(conn_id, f"for destination {destination}", **options)
