-- depends_on: {{ ref('ad_attribution_credits') }}
-- depends_on: {{ ref('int_purchases') }}
-- Sums of revenue and numbers of purchases per brand and currency that differ between the shop's
-- own purchases and `ad_attributions`: over all that there is.
with

transactions as (
    select * from {{ ref('stg_app__transactions') }}
),

not_seen as (
    {{ purchases_not_seen() }}
),

attributions as (
    select * from {{ ref('ad_attributions') }}
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

of_attributions as (
    select
        attributions.brand_slug,
        attributions.currency,
        sum(attributions.conversion_value) as value,
        count(*) as purchases
    from attributions
    where {{ is_seen('attributions') }}
    group by attributions.brand_slug, attributions.currency
),

differing as (
    select
        coalesce(of_shop.brand_slug, of_attributions.brand_slug) as brand_slug,
        coalesce(of_shop.currency, of_attributions.currency) as currency,
        of_shop.value as shop_value,
        of_attributions.value as attributions_value,
        of_shop.purchases as shop_purchases,
        of_attributions.purchases as attributions_purchases
    from of_shop
    full join of_attributions
        on
            of_shop.brand_slug = of_attributions.brand_slug
            and coalesce(of_shop.currency, '') = coalesce(of_attributions.currency, '')
    where
        of_shop.value is distinct from of_attributions.value
        or of_shop.purchases is distinct from of_attributions.purchases
)

select * from differing
