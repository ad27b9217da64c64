"""A running sandbox and its client, for the tests that need no other one."""

from collections.abc import Iterator

import pytest

from sandbox.server import Sandbox
from sandbox.world import World
from tests.support.graph import NOON, START, Client


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(World(START)) as sandbox:
        yield sandbox


@pytest.fixture
def client(running: Sandbox) -> Client:
    running.reset()
    running.clock.set(NOON)
    return Client(running)
