-- Sums of revenue per currency and model that differ between the shop's own purchases,
-- `ad_attributions` and the credits: over all that there is.
with

transactions as (
    select * from {{ ref('stg_app__transactions') }}
    where is_revenue
),

attributions as (
    select * from {{ ref('ad_attributions') }}
),

credits as (
    select * from {{ ref('ad_attribution_credits') }}
),

models as (
    select models.model
    from (
        values
        {%- for model in attribution_setting('attribution_models') %}
        ('{{ model }}'){{ ',' if not loop.last }}
        {%- endfor %}
    ) as models (model)
),

of_shop as (
    select
        currency,
        sum(value) as value,
        count(*) as purchases
    from transactions
    group by currency
),

of_attributions as (
    select
        currency,
        sum(conversion_value) as value,
        count(*) as purchases
    from attributions
    group by currency
),

of_credits as (
    select
        model,
        currency,
        sum(attributed_value) as value,
        sum(weight) as purchases
    from credits
    group by model, currency
),

wanted as (
    select
        models.model,
        of_shop.currency,
        of_shop.value,
        of_shop.purchases
    from of_shop
    cross join models
),

compared as (
    select
        coalesce(wanted.model, of_credits.model) as model,
        coalesce(wanted.currency, of_credits.currency) as currency,
        wanted.value as shop_value,
        of_credits.value as credits_value,
        wanted.purchases as shop_purchases,
        of_credits.purchases as credits_purchases
    from wanted
    full join of_credits
        on
            wanted.model = of_credits.model
            and coalesce(wanted.currency, '') = coalesce(of_credits.currency, '')
    union all
    select
        'ad_attributions' as model,
        coalesce(of_shop.currency, of_attributions.currency) as currency,
        of_shop.value as shop_value,
        of_attributions.value as credits_value,
        of_shop.purchases as shop_purchases,
        of_attributions.purchases as credits_purchases
    from of_shop
    full join of_attributions
        on coalesce(of_shop.currency, '') = coalesce(of_attributions.currency, '')
),

differing as (
    select * from compared
    where
        shop_value is distinct from credits_value
        or shop_purchases is distinct from credits_purchases
)

select * from differing
