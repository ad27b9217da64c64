"""The public edge: `uvicorn include.api.edge:app --host 0.0.0.0 --port 8081 --workers 2`."""

from include.api.app import edge

app = edge()
