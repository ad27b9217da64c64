"""The DAGs of the installed package as a bundle: for an Airflow that has a DAGs folder already."""

from __future__ import annotations

from typing import Any

from airflow.dag_processing.bundles.local import LocalDagBundle

from tributary import config


class TributaryDags(LocalDagBundle):
    """The folder `dags` of this version of Tributary, wherever it is installed."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(path=str(config.ROOT / "dags"), **kwargs)
