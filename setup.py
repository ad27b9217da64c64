"""What pyproject.toml cannot say: a wheel carries what is beside the package in a checkout.

`tributary.config.ROOT` finds it: `dags/`, `dbt/` and `plugins/` are in `tributary/_project/`.
"""

from pathlib import Path
from shutil import copytree, ignore_patterns, rmtree

from setuptools import setup
from setuptools.command.build_py import build_py


class Build(build_py):
    """Builds the package, and copies those folders into it."""

    def run(self) -> None:
        if not self.editable_mode:  # what an earlier version left there is no part of this one
            rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if not self.editable_mode:
            for name in ("dags", "dbt", "plugins"):
                to = Path(self.build_lib, "tributary", "_project", name)
                ignored = ignore_patterns("__pycache__", "target", "logs", ".gitkeep")
                copytree(name, to, ignore=ignored, dirs_exist_ok=True)


setup(cmdclass={"build_py": Build})
