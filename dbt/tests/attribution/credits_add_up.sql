-- depends_on: {{ ref('ad_performance') }}
-- Purchases whose credits of a model do not add up to exactly 1, or not to the purchase's value: of
-- those that this build computed. It waits for a view on the credits: else `ad_attributions` would
-- wait for it.
with

due as (
    select * from {{ ref('int_purchases_due') }}
),

transactions as (
    select transactions.*
    from {{ ref('stg_app__transactions') }} as transactions
    inner join due
        on
            transactions.transaction_id = due.transaction_id
            and transactions.brand_slug = due.brand_slug
),

credits as (
    select * from {{ ref('ad_attribution_credits') }}
),

not_seen as (
    {{ purchases_not_seen() }}
),

summed as (
    select
        credits.transaction_id,
        credits.brand_slug,
        credits.model,
        sum(credits.weight) as weight,
        sum(credits.attributed_value) as attributed_value,
        min(credits.currency) as first_currency,
        max(credits.currency) as last_currency
    from credits
    where {{ is_due('credits') }}
    group by credits.transaction_id, credits.brand_slug, credits.model
),

wanted as (
    select
        transactions.transaction_id,
        transactions.brand_slug,
        transactions.value,
        transactions.currency,
        models.model
    from transactions
    cross join {{ model_rows() }} as models (model)
    where transactions.is_revenue and {{ is_seen('transactions') }}
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
        (1, wanted.value, wanted.currency, wanted.currency) is distinct from (
            summed.weight,
            summed.attributed_value,
            summed.first_currency,
            summed.last_currency
        )
)

select * from differing
