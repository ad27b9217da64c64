"""The assets by which DAGs, and those of others, find what ours have changed."""

from airflow.sdk import Asset

RAW_META_ADS = Asset("raw_meta_ads")
CONVERSION_DELIVERIES = Asset("conversion_deliveries")

# One for each mart, so that a DAG of an analyst can start when the mart that it reads was built.
MARTS = tuple(
    Asset(f"marts.{name}")
    for name in (
        "ad_ads", "ad_adsets", "ad_attribution_credits", "ad_attributions", "ad_campaigns",
        "ad_performance", "ad_platform_claims", "ad_restatements", "ad_spend",
        "campaign_performance", "conversion_delivery_status", "data_problems",
    )
)  # fmt: skip
