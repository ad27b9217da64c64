-- depends_on: {{ ref('ad_performance') }}
-- depends_on: {{ ref('int_purchases') }}
-- Sums of revenue and numbers of purchases per brand, currency and model that differ between the
-- shop's own purchases and the credits: over all that there is. It reads every credit, so only the
-- nightly build runs it: `credits_add_up` holds what an hourly build writes. It waits for a view on
-- the credits: else `ad_attributions` would wait for it.
{{ config(enabled=var('recompute')) }}

with

transactions as (
    select * from {{ ref('stg_app__transactions') }}
),

not_seen as (
    {{ purchases_not_seen() }}
),

credits as (
    select * from {{ ref('ad_attribution_credits') }}
),

of_shop as (
    select
        transactions.brand_slug,
        transactions.currency,
        sum(transactions.value) as value,
        count(*) as purchases
    from transactions
    where transactions.is_revenue and {{ is_seen('transactions') }}
    group by transactions.brand_slug, transactions.currency
),

wanted as (
    select
        models.model,
        of_shop.brand_slug,
        of_shop.currency,
        of_shop.value,
        of_shop.purchases
    from of_shop
    cross join {{ model_rows() }} as models (model)
),

of_credits as (
    select
        credits.model,
        credits.brand_slug,
        credits.currency,
        sum(credits.attributed_value) as value,
        sum(credits.weight) as purchases
    from credits
    where {{ is_seen('credits') }}
    group by credits.model, credits.brand_slug, credits.currency
),

differing as (
    select
        coalesce(wanted.model, of_credits.model) as model,
        coalesce(wanted.brand_slug, of_credits.brand_slug) as brand_slug,
        coalesce(wanted.currency, of_credits.currency) as currency,
        wanted.value as shop_value,
        of_credits.value as credits_value,
        wanted.purchases as shop_purchases,
        of_credits.purchases as credits_purchases
    from wanted
    full join of_credits
        on
            wanted.model = of_credits.model
            and wanted.brand_slug = of_credits.brand_slug
            and coalesce(wanted.currency, '') = coalesce(of_credits.currency, '')
    where
        wanted.value is distinct from of_credits.value
        or wanted.purchases is distinct from of_credits.purchases
)

select * from differing
