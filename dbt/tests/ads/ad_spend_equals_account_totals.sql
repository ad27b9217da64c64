-- Days that the ledger calls reconciled and that do not add up to the account's own total:
-- impressions must agree exactly, spend within what the load has accepted (Meta rounds each row).
with

days as (
    select * from {{ ref('int_ad_days_to_check') }}
),

ad_spend as (
    select * from {{ ref('ad_spend') }}
    where {{ of_days('select * from days') }}
),

in_mart as (
    select
        account_id,
        date,
        sum(spend) as spend,
        sum(impressions) as impressions
    from ad_spend
    group by account_id, date
),

compared as (
    select
        days.account_id,
        days.date,
        coalesce(in_mart.spend, 0) as ad_spend,
        days.account_spend,
        coalesce(in_mart.impressions, 0) as ad_impressions,
        days.account_impressions,
        days.accepted_difference
    from days
    left join in_mart on days.account_id = in_mart.account_id and days.date = in_mart.date
    where days.load_status = 'reconciled'
),

differing as (
    select * from compared
    where
        ad_impressions <> account_impressions
        or abs(ad_spend - account_spend) > accepted_difference
)

select * from differing
