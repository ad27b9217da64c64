{#-
    Account-days whose rows in `ad_spend` do not add up to the account's own total.

    Impressions must agree exactly. Spend may differ by what the load has accepted (Meta rounds each
    row): the difference of the two sums that the ledger holds.
-#}
{% macro account_differences(load_status) %}
with

days as (
    {{ days_to_check() }}
),

loads as (
    select * from {{ ref('stg_tributary__loads') }}
    where report = 'ad_insights'
),

account_insights as (
    select * from {{ ref('stg_meta__account_insights') }}
),

seen as (
    {{ loads_seen() }}
),

ad_spend as (
    select * from {{ ref('ad_spend') }}
    where {{ of_days('days') }}
),

in_mart as (
    select
        account_id,
        date,
        sum(spend) as spend,
        sum(impressions) as impressions,
        max(loaded_at) as loaded_at
    from ad_spend
    group by account_id, date
),

compared as (
    select
        loads.account_id,
        loads.date,
        coalesce(in_mart.spend, 0) as ad_spend,
        coalesce(account_insights.spend, 0) as account_spend,
        coalesce(in_mart.impressions, 0) as ad_impressions,
        coalesce(account_insights.impressions, 0) as account_impressions,
        coalesce(nullif(abs(loads.spend - loads.account_spend), 'NaN'), 0) as accepted_difference
    from days
    inner join loads on days.account_id = loads.account_id and days.date = loads.date
    left join in_mart on days.account_id = in_mart.account_id and days.date = in_mart.date
    left join seen on days.account_id = seen.account_id and days.date = seen.date
    left join account_insights
        on
            days.account_id = account_insights.account_id
            and days.date = account_insights.date
    where
        loads.load_status = '{{ load_status }}'
        and {{ is_taken_over('loads.loaded_at', 'in_mart.loaded_at', 'seen.loaded_at') }}
),

differing as (
    select * from compared
    where
        ad_impressions <> account_impressions
        or abs(ad_spend - account_spend) > accepted_difference
)
{% endmacro %}
