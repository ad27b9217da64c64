{{
    config(
        indexes=[
            {'columns': ['id'], 'unique': true},
            {'columns': ['account_id', 'date']},
            {'columns': ['restated_at']},
        ],
    )
}}

with

days as (
    select * from {{ ref('int_restated_days') }}
),

restatements as (
    select * from {{ ref('stg_tributary__restatements') }}
    where report = 'ad_insights'
),

described as (
    select
        md5('meta|restatement|' || restatements.restatement_id)::uuid as id,
        restatements.account_id,
        days.account_name,
        days.brand_slug,
        days.currency,
        days.time_zone,
        restatements.run_id,
        restatements.changed_rows,
        restatements.rows_before,
        restatements.rows_after,
        restatements.spend_before,
        restatements.spend_after,
        restatements.spend_after - restatements.spend_before as spend_difference,
        restatements.impressions_before,
        restatements.impressions_after,
        days.restatement_count,
        -- The day ends at midnight where the account is: full days since then are calendar days.
        (restatements.restated_at at time zone coalesce(days.time_zone, 'UTC'))::date
        - restatements.date - 1 as days_after,
        restatements.date,
        restatements.restated_at,
        days.last_restated_at
    from restatements
    inner join days
        on
            restatements.account_id = days.account_id
            and restatements.date = days.date
)

select * from described
