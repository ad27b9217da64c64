"""The public edge: `uvicorn tributary.api.edge:app --host 0.0.0.0 --port 8081 --workers 2`."""

from tributary.api.app import edge

app = edge()
