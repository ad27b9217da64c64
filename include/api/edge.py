"""The public edge: `uvicorn include.api.edge:app --host 0.0.0.0 --port 8081 --workers 2`."""

import logging

from include.api.app import edge

app = edge()
# Airflow's logging, which comes with its connections, takes uvicorn's access log away.
logging.getLogger("uvicorn.access").propagate = True
