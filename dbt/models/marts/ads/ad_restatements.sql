{{
    config(
        incremental_predicates=["{{ is_of_restated_days() }}"],
        indexes=[
            {'columns': ['id'], 'unique': true},
            {'columns': ['account_id', 'date']},
            {'columns': ['restated_at']},
        ],
    )
}}
-- depends_on: {{ ref('int_ad_spend_days') }}

with

accounts as (
    select * from {{ ref('int_ad_accounts') }}
),

restatements as (
    select * from {{ ref('stg_tributary__restatements') }}
    where report = 'ad_insights'
),

to_describe as (
    select * from restatements
    {%- if is_incremental() and not var('recompute') %}
    where {{ is_of_restated_days() }}
    {%- endif %}
),

described as (
    select
        {{ restatement_key('to_describe.restatement_id') }} as id,
        to_describe.account_id,
        accounts.account_name,
        accounts.brand_slug,
        accounts.currency,
        accounts.time_zone,
        to_describe.run_id,
        to_describe.changed_rows,
        to_describe.rows_before,
        to_describe.rows_after,
        to_describe.spend_before,
        to_describe.spend_after,
        to_describe.spend_after - to_describe.spend_before as spend_difference,
        to_describe.impressions_before,
        to_describe.impressions_after,
        (count(*) over days)::integer as restatement_count,
        -- The day ends at midnight where the account is: full days since then are calendar days.
        (to_describe.restated_at at time zone coalesce(accounts.time_zone, 'UTC'))::date
        - to_describe.date - 1 as days_after,
        to_describe.date,
        to_describe.restated_at,
        max(to_describe.restated_at) over days as last_restated_at
    from to_describe
    left join accounts on to_describe.account_id = accounts.account_id
    window days as (partition by to_describe.account_id, to_describe.date)
)

select * from described
