-- Rows of facts that find no campaign, ad set or ad: they would be lost in a join.
with

days as (
    select * from {{ ref('int_ad_days_to_check') }}
),

ad_spend as (
    select * from {{ ref('ad_spend') }}
    where {{ of_days('select * from days') }}
),

campaigns as (
    select * from {{ ref('ad_campaigns') }}
),

adsets as (
    select * from {{ ref('ad_adsets') }}
),

ads as (
    select * from {{ ref('ad_ads') }}
),

orphans as (
    select
        ad_spend.id,
        ad_spend.date,
        ad_spend.fb_campaign_id,
        ad_spend.fb_adset_id,
        ad_spend.fb_ad_id
    from ad_spend
    left join campaigns on ad_spend.campaign_id = campaigns.id
    left join adsets on ad_spend.adset_id = adsets.id
    left join ads on ad_spend.ad_id = ads.id
    where campaigns.id is null or adsets.id is null or ads.id is null
)

select * from orphans
