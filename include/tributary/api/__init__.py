"""The REST API for people and programs, and the webhooks for providers.

`app` makes it; `edge` runs it alone for the public; `plugins/tributary_plugin.py` mounts it in
Airflow.
"""
