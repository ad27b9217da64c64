"""What holds secrets or people on disk: for its owner alone, from its first byte on."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tributary import config
from tributary import warehouse as wh
from tributary.deliver.files import import_file
from tributary.local import services

from tests.support.loads import query
from tests.support.outgoing import NOW, configure, meta_destination


@pytest.fixture(autouse=True)
def nothing_is_masked() -> Iterator[None]:
    """The umask of a careless server."""
    before = os.umask(0)
    yield
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_state_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user of the machine reads secrets, logs or people in the state directory."""
    new, old, shared = tmp_path / "new", tmp_path / "old", tmp_path / "shared"
    monkeypatch.setenv("TRIBUTARY_HOME", str(new))
    assert _mode(config.home()) == 0o700
    for path, mode in ((old, 0o755), (shared, 0o1777)):
        path.mkdir()
        path.chmod(mode)
    monkeypatch.setenv("TRIBUTARY_HOME", str(shared))
    assert _mode(config.home()) == 0o1777  # such as /tmp: others need it
    monkeypatch.setenv("TRIBUTARY_HOME", str(old))
    (old / "brief.log").touch(mode=0o644)
    config.secret("ui_password")
    services.start("brief", [sys.executable, "-c", "import time; time.sleep(60)"], {})
    modes = {path.name: _mode(path) for path in old.iterdir()}
    services.stop("brief")
    assert _mode(config.home()) == 0o700
    assert modes == {
        "local.json": 0o600, "local.lock": 0o600, "brief.log": 0o600, "brief.pid": 0o600,
    }  # fmt: skip


def test_only_the_embedded_server_may_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded Postgres of root does not start, or all users may look around."""
    monkeypatch.setenv("TRIBUTARY_HOME", str(tmp_path / "state"))
    config.let_pass(os.getgid())
    assert _mode(config.home()) == 0o710
    (tmp_path / "state").chmod(0o750)
    assert _mode(config.home()) == 0o700


def test_a_private_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """A symbolic link makes us overwrite another file, or half a file is left."""
    victim, path = tmp_path / "victim", tmp_path / "secret"
    victim.write_text("theirs")
    path.symlink_to(victim)

    def broken_off() -> None:
        with config.private_file(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert path.is_symlink()
    config.write_private(path, "whole")
    assert (victim.read_text(), path.read_text(), path.is_symlink()) == ("theirs", "whole", False)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["secret", "victim"]


@pytest.mark.parametrize("kind", ["csv", "parquet", "xlsx"])
def test_refused_lines_are_read_by_their_owner_alone(
    warehouse: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Who has an account on the machine reads people while the file is written, or has it
    written over a file of ours.
    """
    configure(warehouse)
    configure(warehouse, "lumen", meta_destination("lumen-meta", pixel_id="2000000088"))
    seen: list[int] = []
    write = getattr(pd.DataFrame, {"xlsx": "to_excel"}.get(kind, f"to_{kind}"))

    def spied(frame: pd.DataFrame, target: Any, **options: Any) -> None:
        seen.append(stat.S_IMODE(os.fstat(target.fileno()).st_mode))
        write(frame, target, **options)

    lines = pd.DataFrame(
        {
            "brand": ["acme", "lumen", "nowhere"],
            "event_name": ["Purchase"] * 3,
            "event_time": ["2026-11-20T10:00:00Z"] * 3,
            "email": [f"jane{n}@example.com" for n in range(3)],
            "value": ["1", "-1", "1"],
            "currency": ["USD"] * 3,
        }
    )
    path, victim = tmp_path / f"drop.{kind}", tmp_path / "victim"
    write(lines, path, index=False)
    victim.write_text("theirs")
    target = tmp_path / f"drop.refused.{kind}"
    target.symlink_to(victim)
    monkeypatch.setattr(pd.DataFrame, write.__name__, spied)
    with wh.connect(warehouse, autocommit=True) as connection:
        report = import_file(connection, path, None, NOW)
    assert (report.accepted, len(report.refused), report.refused_file) == (1, 2, target)
    assert (seen, _mode(target), target.is_symlink()) == ([0o600], 0o600, False)
    assert victim.read_text() == "theirs"
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet, "xlsx": pd.read_excel}[kind]
    assert list(read(target)["email"]) == ["jane1@example.com", "jane2@example.com"]
    assert len(list(tmp_path.iterdir())) == 3  # no draft is left
    assert len(query(warehouse, "select from ops.conversion_events")) == 1
