-- depends_on: {{ ref('int_purchases_due') }}
{{
    config(
        unique_key=['transaction_id', 'brand_slug', 'model', 'touch_index'],
        incremental_predicates=["{{ is_due('DBT_INTERNAL_DEST') }}"],
        indexes=[
            {'columns': ['transaction_id', 'brand_slug', 'model', 'touch_index'], 'unique': true},
            {'columns': ['date']},
            {'columns': ['ad_id', 'date']},
        ],
    )
}}

with

credits as (
    select * from {{ ref('int_attribution_credits') }}
),

exchange_rates as (
    select * from {{ ref('int_exchange_rates_daily') }}
),

priced as (
    select
        credits.transaction_id,
        credits.model,
        credits.touch_index,
        credits.touch_count,
        credits.weight,
        credits.attributed_value,
        credits.currency,
        credits.date,
        credits.touchpoint_id,
        credits.brand_slug,
        credits.campaign_id,
        credits.adset_id,
        credits.ad_id,
        credits.fb_campaign_id,
        credits.fb_adset_id,
        credits.fb_ad_id,
        credits.google_campaign_id,
        credits.google_ad_group_id,
        credits.google_ad_id,
        credits.account_id,
        credits.source_platform,
        credits.match_method,
        credits.unattributed_reason,
        credits.reporting_currency,
        -- Nothing is nothing in any currency.
        credits.attributed_value * case
            when
                credits.attributed_value = 0
                or credits.currency = credits.reporting_currency
                then 1
            else exchange_rates.rate
        end as reporting_attributed_value,
        credits.touched_at,
        credits.transacted_at
    from credits
    left join exchange_rates
        on
            credits.currency = exchange_rates.base
            and credits.reporting_currency = exchange_rates.quote
            and credits.date = exchange_rates.date
)

select * from priced
