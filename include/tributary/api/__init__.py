"""The doors: a REST API for people and programs, and webhooks for providers.

`app` makes it; `edge` runs it alone for the public, `plugins/tributary.py` mounts it in Airflow.
"""
