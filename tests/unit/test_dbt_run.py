"""dbt in this process says what it is asked to say."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import patch

import pytest
from tributary import config, dbt_run

SAID, WHISPERED = "Running with dbt=", "running dbt with arguments"


@pytest.mark.parametrize(
    ("flags", "heard"),
    [
        ([], {SAID}),
        (["--log-level", "debug"], {SAID, WHISPERED}),
        (["--debug"], {SAID, WHISPERED}),
        (["--quiet"], set()),
    ],
)
def test_debug_messages_are_heard_by_those_who_ask(
    flags: list[str], heard: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--debug` shows nothing, or every build logs all of dbt's messages."""
    environment = config.dbt_environment("postgresql://reader:unused@127.0.0.1:1/warehouse")
    environment |= {"DBT_LOG_PATH": str(tmp_path)}
    with patch.dict(os.environ):
        assert dbt_run.invoke(environment, *flags, "debug", "--config-dir").success
    out = capsys.readouterr().out
    assert {line for line in (SAID, WHISPERED) if line in out} == heard
