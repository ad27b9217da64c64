{{ config(materialized='view_in_place') }}

with

claims as (
    select * from {{ ref('stg_meta__ad_purchases_by_window') }}
),

campaigns as (
    select * from {{ ref('ad_campaigns') }}
),

accounts as (
    select distinct
        account_id,
        brand_slug,
        currency
    from campaigns
    where account_id is not null
),

credits as (
    select * from {{ ref('ad_attribution_credits') }}
    where
        model = '{{ attribution_setting("attribution_default_model") }}'
        and account_id is not null
        and fb_ad_id is not null
),

unioned as (
    select
        claims.date,
        claims.attribution_window,
        claims.fb_ad_id,
        claims.account_id,
        claims.platform_purchases,
        claims.platform_purchase_value,
        0::numeric as attributed_conversions,
        0::numeric as attributed_value
    from claims
    union all
    select
        credits.date,
        windows.attribution_window,
        credits.fb_ad_id,
        credits.account_id,
        0::numeric as platform_purchases,
        0::numeric as platform_purchase_value,
        credits.weight as attributed_conversions,
        case
            when credits.currency = accounts.currency then credits.attributed_value
        end as attributed_value
    from credits
    left join accounts on credits.account_id = accounts.account_id
    cross join (
        values
        ('default')
        {%- for window in var('platform_claim_windows') %},
        ('{{ window }}')
        {%- endfor %}
    ) as windows (attribution_window)
),

summed as (
    select
        date,
        attribution_window,
        fb_ad_id,
        account_id,
        sum(platform_purchases) as platform_purchases,
        case
            when count(*) = count(platform_purchase_value) then sum(platform_purchase_value)
        end as platform_purchase_value,
        sum(attributed_conversions) as attributed_conversions,
        case when count(*) = count(attributed_value) then sum(attributed_value) end
            as attributed_value
    from unioned
    group by date, attribution_window, fb_ad_id, account_id
),

compared as (
    select
        summed.date,
        summed.attribution_window,
        {{ meta_key('ad', 'summed.fb_ad_id') }} as ad_id,
        summed.fb_ad_id,
        summed.account_id,
        accounts.brand_slug,
        accounts.currency,
        summed.platform_purchases,
        summed.platform_purchase_value,
        summed.attributed_conversions,
        summed.attributed_value,
        summed.platform_purchases - summed.attributed_conversions as purchases_difference,
        summed.platform_purchase_value - summed.attributed_value as value_difference,
        case sign(summed.platform_purchases - summed.attributed_conversions)
            when 1 then 'platform_claims_more'
            when -1 then 'platform_claims_less'
            else 'equal'
        end as purchases_direction,
        case sign(summed.platform_purchase_value - summed.attributed_value)
            when 1 then 'platform_claims_more'
            when -1 then 'platform_claims_less'
            when 0 then 'equal'
        end as value_direction
    from summed
    left join accounts on summed.account_id = accounts.account_id
)

select * from compared
