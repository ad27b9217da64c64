"""The assets by which DAGs find each other."""

from airflow.sdk import Asset

RAW_META_ADS = Asset("raw_meta_ads")
CONVERSION_DELIVERIES = Asset("conversion_deliveries")
