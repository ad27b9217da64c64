-- depends_on: {{ ref('ad_performance') }}
-- Sums of revenue and numbers of purchases per currency and model that differ between the shop's
-- own purchases and the credits: over all that there is. It reads every credit, so it waits for a
-- view on them: else `ad_attributions` would wait for it.
with

transactions as (
    select * from {{ ref('stg_app__transactions') }}
    where is_revenue
),

credits as (
    select * from {{ ref('ad_attribution_credits') }}
),

of_shop as (
    select
        models.model,
        transactions.currency,
        sum(transactions.value) as value,
        count(*) as purchases
    from transactions
    cross join {{ model_rows() }} as models (model)
    group by models.model, transactions.currency
),

of_credits as (
    select
        model,
        currency,
        sum(attributed_value) as value,
        -- To the thousandth, or adding them up would cost as much as all the rest.
        round(sum(weight::float8)::numeric, 3) as purchases
    from credits
    group by model, currency
),

differing as (
    select
        coalesce(of_shop.model, of_credits.model) as model,
        coalesce(of_shop.currency, of_credits.currency) as currency,
        of_shop.value as shop_value,
        of_credits.value as credits_value,
        of_shop.purchases as shop_purchases,
        of_credits.purchases as credits_purchases
    from of_shop
    full join of_credits
        on
            of_shop.model = of_credits.model
            and coalesce(of_shop.currency, '') = coalesce(of_credits.currency, '')
    where
        of_shop.value is distinct from of_credits.value
        or of_shop.purchases is distinct from of_credits.purchases
)

select * from differing
