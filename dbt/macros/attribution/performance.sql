{#-
    Sums and ratios of `ad_performance_rows` per day and level of the hierarchy: one query for
    `ad_performance` and `campaign_performance`. A row has one currency: sales in another than the ad
    account's make a row of their own, without spend. No window or limit inside: a filter on the day
    reaches the tables' indexes.

    Args:
        level: ad or campaign.
-#}
{% macro performance(level) %}
{%- set is_known = 'is_spend or ' ~ level ~ '_id <> ' ~ meta_unknown_key(level) -%}
with

performance_rows as (
    select * from {{ ref('ad_performance_rows') }}
),

summed as (
    select
        date,
        model,
        {{ level }}_id,
        brand_slug,
        currency,
        -- An id that no ad object of ours has is under the unknown member.
        max(fb_{{ level }}_id) filter (where {{ is_known }}) as fb_{{ level }}_id,
        max(account_id) filter (where {{ is_known }}) as account_id,
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
    from performance_rows
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
