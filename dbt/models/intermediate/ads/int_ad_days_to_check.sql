{{ config(materialized='ephemeral') }}
{#-
    Read by tests alone: dbt skips what lies downstream of all that a failed test reads, so that an
    account that does not add up stops the marts of no other brand.
-#}
with

days_seen as (
    select * from {{ ref('int_ad_spend_days') }}
),

account_insights as (
    select * from {{ ref('stg_meta__account_insights') }}
),

loads as (
    select * from {{ ref('stg_tributary__loads') }}
    where report = 'ad_insights'
),

account_days as (
    select
        account_id,
        date
    from days_seen
    union
    select
        account_id,
        date
    from account_insights
    union
    select
        account_id,
        date
    from loads
),

newest as (
    select max(date) as newest_date
    from days_seen
),

-- A load that committed while the build ran, or was about to, is judged by the next build.
to_check as (
    select
        account_days.account_id,
        account_days.date,
        loads.load_status,
        coalesce(account_insights.spend, 0) as account_spend,
        coalesce(account_insights.impressions, 0) as account_impressions,
        coalesce(nullif(abs(loads.spend - loads.account_spend), 'NaN'), 0) as accepted_difference
    from account_days
    cross join newest
    left join days_seen
        on
            account_days.account_id = days_seen.account_id
            and account_days.date = days_seen.date
    left join loads
        on
            account_days.account_id = loads.account_id
            and account_days.date = loads.date
    left join account_insights
        on
            account_days.account_id = account_insights.account_id
            and account_days.date = account_insights.date
    where
        (
            loads.loaded_at is not distinct from days_seen.loaded_at
            or loads.loaded_at < '{{ run_started_at }}'::timestamptz - interval '1 minute'
        )
        and (
            {{ var('recompute') }}
            or loads.loaded_at >= now() - interval '2 days'
            or account_days.date > newest.newest_date - {{ var('reconcile_days') }}
        )
)

select * from to_check
