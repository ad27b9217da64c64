-- Account-days of which the mart says something else than raw, to the last digit.
with

days as (
    {{ days_to_check() }}
),

loads as (
    select * from {{ ref('stg_tributary__loads') }}
    where report = 'ad_insights'
),

seen as (
    {{ loads_seen() }}
),

ad_spend as (
    select * from {{ ref('ad_spend') }}
    where {{ of_days('days') }}
),

insights as (
    select * from {{ ref('stg_meta__ad_insights') }}
    where {{ of_days('days') }}
),

in_mart as (
    select
        account_id,
        date,
        count(*) as row_count,
        sum(spend) as spend,
        sum(impressions) as impressions,
        sum(clicks) as clicks,
        sum(platform_purchases) as platform_purchases,
        sum(platform_purchase_value) as platform_purchase_value,
        max(loaded_at) as loaded_at
    from ad_spend
    group by account_id, date
),

in_raw as (
    select
        account_id,
        date,
        count(*) as row_count,
        sum(spend) as spend,
        sum(impressions) as impressions,
        sum(clicks) as clicks,
        sum(platform_purchases) as platform_purchases,
        sum(platform_purchase_value) as platform_purchase_value
    from insights
    group by account_id, date
),

compared as (
    select
        days.account_id,
        days.date,
        in_mart.row_count as mart_rows,
        in_raw.row_count as raw_rows,
        in_mart.spend as mart_spend,
        in_raw.spend as raw_spend,
        in_mart.impressions as mart_impressions,
        in_raw.impressions as raw_impressions
    from days
    left join in_mart on days.account_id = in_mart.account_id and days.date = in_mart.date
    left join seen on days.account_id = seen.account_id and days.date = seen.date
    left join in_raw on days.account_id = in_raw.account_id and days.date = in_raw.date
    left join loads on days.account_id = loads.account_id and days.date = loads.date
    where
        {{ is_taken_over('loads.loaded_at', 'in_mart.loaded_at', 'seen.loaded_at') }}
        and (
            in_mart.row_count,
            in_mart.spend,
            in_mart.impressions,
            in_mart.clicks,
            in_mart.platform_purchases,
            in_mart.platform_purchase_value
        ) is distinct from (
            in_raw.row_count,
            in_raw.spend,
            in_raw.impressions,
            in_raw.clicks,
            in_raw.platform_purchases,
            in_raw.platform_purchase_value
        )
)

select * from compared
