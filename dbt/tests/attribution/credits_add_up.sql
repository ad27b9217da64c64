-- depends_on: {{ ref('ad_performance') }}
-- depends_on: {{ ref('int_purchases') }}
-- Purchases whose credits of a model do not add up to exactly 1, or not to the purchase's value: of
-- those that this build computed. It waits for a view on the credits: else `ad_attributions` would
-- wait for it.
with

transactions as (
    select * from {{ ref('stg_app__transactions') }}
),

credits as (
    select * from {{ ref('ad_attribution_credits') }}
),

due as (
    select * from {{ ref('int_purchases_due') }}
),

not_seen as (
    {{ purchases_not_seen() }}
),

to_check as (
    select
        transactions.transaction_id,
        transactions.brand_slug,
        transactions.value,
        transactions.currency,
        transactions.is_revenue
    from transactions
    inner join due
        on
            transactions.transaction_id = due.transaction_id
            and transactions.brand_slug = due.brand_slug
),

summed as (
    select
        to_check.transaction_id,
        to_check.brand_slug,
        credits.model,
        sum(credits.weight) as weight,
        sum(credits.attributed_value) as attributed_value,
        bool_and(credits.currency is not distinct from to_check.currency) as has_its_currency
    from to_check
    inner join credits
        on
            to_check.transaction_id = credits.transaction_id
            and to_check.brand_slug = credits.brand_slug
    group by to_check.transaction_id, to_check.brand_slug, credits.model
),

wanted as (
    select
        to_check.transaction_id,
        to_check.brand_slug,
        to_check.value,
        models.model
    from to_check
    cross join {{ model_rows() }} as models (model)
    where to_check.is_revenue and {{ is_seen('to_check') }}
),

differing as (
    select
        wanted.transaction_id,
        wanted.brand_slug,
        wanted.model,
        wanted.value,
        summed.weight,
        summed.attributed_value
    from wanted
    left join summed
        on
            wanted.transaction_id = summed.transaction_id
            and wanted.brand_slug = summed.brand_slug
            and wanted.model = summed.model
    where
        summed.weight is distinct from 1
        or summed.attributed_value is distinct from wanted.value
        or not summed.has_its_currency
)

select * from differing
