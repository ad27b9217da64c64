{{ config(materialized='ephemeral', contract={'enforced': false}) }}
{#-
    Spend and attributed revenue as rows of the same columns. Spend is there once for each model, so
    that whoever asks for one model has all of it.
-#}
with

ad_spend as (
    select * from {{ ref('ad_spend') }}
),

credits as (
    select * from {{ ref('ad_attribution_credits') }}
),

spent as (
    select
        ad_spend.date,
        models.model,
        true as is_spend,
        ad_spend.campaign_id,
        ad_spend.ad_id,
        ad_spend.fb_campaign_id,
        ad_spend.fb_ad_id,
        ad_spend.account_id,
        ad_spend.brand_slug,
        ad_spend.currency,
        ad_spend.reporting_currency,
        ad_spend.spend,
        ad_spend.reporting_spend,
        ad_spend.impressions,
        ad_spend.clicks,
        ad_spend.link_clicks,
        ad_spend.platform_purchases,
        ad_spend.platform_purchase_value,
        0::numeric as attributed_conversions,
        0::numeric as attributed_value,
        0::numeric as reporting_attributed_value
    from ad_spend
    cross join {{ model_rows() }} as models (model)
),

attributed as (
    select
        date,
        model,
        false as is_spend,
        campaign_id,
        ad_id,
        fb_campaign_id,
        fb_ad_id,
        account_id,
        brand_slug,
        currency,
        reporting_currency,
        0::numeric as spend,
        0::numeric as reporting_spend,
        0::bigint as impressions,
        0::bigint as clicks,
        0::bigint as link_clicks,
        0::numeric as platform_purchases,
        0::numeric as platform_purchase_value,
        weight as attributed_conversions,
        attributed_value,
        reporting_attributed_value
    from credits
    -- Older credits have a model that was removed from the settings until the nightly build.
    where model in {{ sql_list(attribution_setting('attribution_models')) }}
),

unioned as (
    select * from spent
    union all
    select * from attributed
)

select * from unioned
