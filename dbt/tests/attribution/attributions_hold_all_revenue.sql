-- depends_on: {{ ref('ad_attribution_credits') }}
-- depends_on: {{ ref('int_purchases') }}
-- Sums of revenue and numbers of purchases per brand and currency that differ between the shop's
-- own purchases and `ad_attributions`: over those that this build computed, in a recompute all.
with

due as (
    select * from {{ ref('int_purchases_due') }}
),

of_shop as (
    select * from {{ ref('stg_app__transactions') }}
),

transactions as (
    select of_shop.*
    from of_shop
    inner join due
        on
            of_shop.transaction_id = due.transaction_id
            and of_shop.brand_slug = due.brand_slug
),

not_seen as (
    {{ purchases_not_seen() }}
),

attributions as (
    select * from {{ ref('ad_attributions') }}
),

shop_sums as (
    select
        transactions.brand_slug,
        transactions.currency,
        sum(transactions.value) as value,
        count(*) as purchases
    from transactions
    where transactions.is_revenue and {{ is_seen('transactions') }}
    group by transactions.brand_slug, transactions.currency
),

mart_sums as (
    select
        attributions.brand_slug,
        attributions.currency,
        sum(attributions.conversion_value) as value,
        count(*) as purchases
    from attributions
    where {{ is_due('attributions') }} and {{ is_seen('attributions') }}
    group by attributions.brand_slug, attributions.currency
),

differing as (
    select
        coalesce(shop_sums.brand_slug, mart_sums.brand_slug) as brand_slug,
        coalesce(shop_sums.currency, mart_sums.currency) as currency,
        shop_sums.value as shop_value,
        mart_sums.value as attributions_value,
        shop_sums.purchases as shop_purchases,
        mart_sums.purchases as attributions_purchases
    from shop_sums
    full join mart_sums
        on
            shop_sums.brand_slug = mart_sums.brand_slug
            and coalesce(shop_sums.currency, '') = coalesce(mart_sums.currency, '')
    where
        shop_sums.value is distinct from mart_sums.value
        or shop_sums.purchases is distinct from mart_sums.purchases
)

select * from differing
