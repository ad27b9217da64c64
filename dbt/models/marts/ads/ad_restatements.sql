{{
    config(
        incremental_predicates=["{{ of_days('(' ~ days_restated_since() ~ ')') }}"],
        indexes=[
            {'columns': ['id'], 'unique': true},
            {'columns': ['account_id', 'date']},
            {'columns': ['restated_at']},
        ],
    )
}}
{%- set is_partial = is_incremental() and not var('recompute') %}

with

accounts as (
    select * from {{ ref('int_ad_accounts') }}
),

{% if is_partial -%}
restated_days as (
    {{ days_restated_since() }}
),

{% endif -%}
restatements as (
    select * from {{ ref('stg_tributary__restatements') }}
    where
        report = 'ad_insights'
        {%- if is_partial %}
        and {{ of_days('restated_days') }}
        {%- endif %}
),

described as (
    select
        {{ restatement_key('restatements.restatement_id') }} as id,
        restatements.account_id,
        accounts.account_name,
        accounts.brand_slug,
        accounts.currency,
        accounts.time_zone,
        restatements.run_id,
        restatements.changed_rows,
        restatements.rows_before,
        restatements.rows_after,
        restatements.spend_before,
        restatements.spend_after,
        restatements.spend_after - restatements.spend_before as spend_difference,
        restatements.impressions_before,
        restatements.impressions_after,
        (count(*) over days)::integer as restatement_count,
        -- The day ends at midnight where the account is: full days since then are calendar days.
        (restatements.restated_at at time zone coalesce(accounts.time_zone, 'UTC'))::date
        - restatements.date - 1 as days_after,
        restatements.date,
        restatements.restated_at,
        max(restatements.restated_at) over days as last_restated_at
    from restatements
    left join accounts on restatements.account_id = accounts.account_id
    window days as (partition by restatements.account_id, restatements.date)
)

select * from described
