"""Drop what the first dbt project left in `staging` and `intermediate`: what dbt no longer knows,
and the views that dbt would now drop with whatever reads them (its own marts among that).

The next build creates the views and marts that are still part of the project.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# Models that are gone, and what was written beside models, unknown to dbt.
TABLES = [
    "ad_attribution_credits__kept",
    "ad_attribution_credits__slices",
    "ad_attributions__kept",
    "ad_attributions__slices",
    "ad_restatements__kept",
    "ad_restatements__slices",
    "ad_spend__kept",
    "ad_spend__slices",
    "base_app__touches_by_profile",
    "int_captured_by_profile",
    "int_clicks_by_profile",
    "int_contact_ads_by_profile",
    "int_evidence",
    "int_evidence__kept",
    "int_reference_hashes",
    "int_reference_hashes__stored",
    "int_transactions",
    "int_url_evidence",
]
# Made by a materialization of this project, which left its mark in a comment on the view's rule.
# What dbt itself has made since under the same name has none.
VIEWS = [
    "base_app__exchange_rates",
    "base_app__problems",
    "base_app__repeated_profiles",
    "base_app__repeated_touchpoints",
    "base_app__repeated_transactions",
    "base_app__shared_identifiers",
    "base_app__touch_urls",
    "base_app__touches_by_profile",
    "int_ad_accounts",
    "int_ad_names",
    "int_ad_names_history",
    "int_ad_objects",
    "int_ad_spend_days",
    "int_ads_seen",
    "int_adsets_budgeted",
    "int_adsets_seen",
    "int_attribution_inputs",
    "int_campaigns_budgeted",
    "int_campaigns_seen",
    "int_captured_by_profile",
    "int_clicks_by_profile",
    "int_contact_ads",
    "int_contact_ads_by_profile",
    "int_contact_touches",
    "int_credit_inputs",
    "int_deliveries_of_transactions",
    "int_evidence",
    "int_exchange_rates_daily",
    "int_google_clicks",
    "int_insight_accounts",
    "int_people",
    "int_reference_hashes",
    "int_restated_days",
    "int_restatements_counted",
    "int_touches_by_profile",
    "int_touchpaths",
    "int_touchpoints_resolved",
    "int_transactions",
    "int_url_evidence",
    "stg_app__profiles",
    "stg_app__touchpoints",
    "stg_app__transactions",
    "stg_google__click_view",
    "stg_meta__account_insights",
    "stg_meta__ad_accounts",
    "stg_meta__ad_insights",
    "stg_meta__ad_purchases_by_window",
    "stg_meta__ads",
    "stg_meta__adsets",
    "stg_meta__campaigns",
    "stg_tributary__ad_accounts",
    "stg_tributary__brands",
    "stg_tributary__contacts",
    "stg_tributary__conversion_deliveries",
    "stg_tributary__conversion_events",
    "stg_tributary__destinations",
    "stg_tributary__exchange_rates",
    "stg_tributary__loads",
    "stg_tributary__restatements",
    "time_spine_daily",
]


def upgrade() -> None:
    _drop("view", "v", VIEWS, "exists (select from pg_rewrite where ev_class = pg_class.oid "
          "and obj_description(oid, 'pg_rewrite') is not null)")  # fmt: skip
    _drop("table", "r", TABLES, "true")


def downgrade() -> None:
    pass  # a build of the older version makes all of it again


def _drop(kind: str, relkind: str, names: list[str], condition: str) -> None:
    """Drop what there is of these names in one statement; what else reads it is an error."""
    op.execute(f"""
        do $drop$
        declare
            found text;
        begin
            select string_agg(oid::regclass::text, ', ') into found
            from pg_class
            where
                relnamespace in (to_regnamespace('staging'), to_regnamespace('intermediate'))
                and relkind = '{relkind}'
                and relname in ({", ".join(f"'{name}'" for name in names)})
                and {condition};
            if found is not null then
                execute 'drop {kind} ' || found;
            end if;
        end
        $drop$
    """)
