"""The sandbox as a process of its own."""

import subprocess
import sys

import requests


def test_it_says_where_it_is_and_ends_when_told() -> None:
    """Red: the demo would wait for a sandbox that is up, or leave one behind."""
    command = [sys.executable, "-m", "include.sandbox", "--now", "2026-10-29T12:00:00"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        health = requests.get(f"{url}/_sandbox/health", timeout=10)
        assert health.json() == {"status": "ok", "now": "2026-10-29T12:00:00+00:00"}
        process.terminate()
        assert process.wait(10) == 0
        assert process.stdout.read() == ""
