{#-
    Spend beside attributed revenue and beside what the platform claims, per day and level of the
    hierarchy: one query for `ad_performance` and `campaign_performance`, from the same credits.

    Spend is there once for each model, so that whoever asks for one model has all of it. A row has
    one currency: sales in another than the ad account's make a row of their own, without spend.
    Views without a window or a limit inside: a filter on the day reaches the tables' indexes.

    Args:
        level: ad or campaign.
-#}
{% macro performance(level) %}
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
        ad_spend.{{ level }}_id,
        ad_spend.fb_{{ level }}_id,
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
        credits.date,
        credits.model,
        credits.{{ level }}_id,
        case
            when credits.{{ level }}_id <> {{ meta_unknown_key(level) }}
                then credits.fb_{{ level }}_id
        end as fb_{{ level }}_id,
        case
            when credits.{{ level }}_id <> {{ meta_unknown_key(level) }} then credits.account_id
        end as account_id,
        credits.brand_slug,
        credits.currency,
        credits.reporting_currency,
        0::numeric as spend,
        0::numeric as reporting_spend,
        0::bigint as impressions,
        0::bigint as clicks,
        0::bigint as link_clicks,
        0::numeric as platform_purchases,
        0::numeric as platform_purchase_value,
        credits.weight as attributed_conversions,
        credits.attributed_value,
        credits.reporting_attributed_value
    from credits
),

unioned as (
    select * from spent
    union all
    select * from attributed
),

summed as (
    select
        date,
        model,
        {{ level }}_id,
        brand_slug,
        currency,
        max(fb_{{ level }}_id) as fb_{{ level }}_id,
        max(account_id) as account_id,
        max(reporting_currency) as reporting_currency,
        sum(spend) as spend,
        sum(impressions)::bigint as impressions,
        sum(clicks)::bigint as clicks,
        sum(link_clicks)::bigint as link_clicks,
        sum(attributed_conversions) as attributed_conversions,
        sum(attributed_value) as attributed_value,
        sum(platform_purchases) as platform_purchases,
        -- What is unknown of one row makes the sum unknown, not smaller.
        case
            when count(*) = count(platform_purchase_value) then sum(platform_purchase_value)
        end as platform_purchase_value,
        case when count(*) = count(reporting_spend) then sum(reporting_spend) end
            as reporting_spend,
        case
            when count(*) = count(reporting_attributed_value) then sum(reporting_attributed_value)
        end as reporting_attributed_value
    from unioned
    group by date, model, {{ level }}_id, brand_slug, currency
),

compared as (
    select
        date,
        model,
        {{ level }}_id,
        fb_{{ level }}_id,
        account_id,
        brand_slug,
        currency,
        reporting_currency,
        spend,
        impressions,
        clicks,
        link_clicks,
        attributed_conversions,
        attributed_value,
        platform_purchases,
        platform_purchase_value,
        platform_purchases - attributed_conversions as platform_purchases_difference,
        platform_purchase_value - attributed_value as platform_value_difference,
        attributed_value / nullif(spend, 0) as roas,
        spend / nullif(attributed_conversions, 0) as cpa,
        reporting_spend,
        reporting_attributed_value,
        reporting_attributed_value / nullif(reporting_spend, 0) as reporting_roas,
        reporting_spend / nullif(attributed_conversions, 0) as reporting_cpa
    from summed
)
{% endmacro %}
