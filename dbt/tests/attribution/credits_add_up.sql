-- Purchases whose credits of a model do not add up to exactly 1, or not to the purchase's value.
-- Of the newest week, and of all purchases that the latest build computed.
with

transactions as (
    select * from {{ ref('stg_app__transactions') }}
    where is_revenue
),

credits as (
    select * from {{ ref('ad_attribution_credits') }}
),

computed as (
    select transaction_id from {{ mart_slices(ref('ad_attribution_credits')) }}
),

to_check as (
    select
        transaction_id,
        value,
        currency
    from transactions
    where
        transacted_at >= (select max(newest.transacted_at) from transactions as newest)
        - interval '7 days'
        or transaction_id in (select computed.transaction_id from computed)
),

summed as (
    select
        to_check.transaction_id,
        credits.model,
        sum(credits.weight) as weight,
        sum(credits.attributed_value) as attributed_value,
        min(credits.currency) as least_currency,
        max(credits.currency) as greatest_currency
    from to_check
    inner join credits on to_check.transaction_id = credits.transaction_id
    group by to_check.transaction_id, credits.model
),

wanted as (
    select
        to_check.transaction_id,
        to_check.value,
        to_check.currency,
        models.model
    from to_check
    cross join (
        values
        {%- for model in attribution_setting('attribution_models') %}
        ('{{ model }}'){{ ',' if not loop.last }}
        {%- endfor %}
    ) as models (model)
),

differing as (
    select
        wanted.transaction_id,
        wanted.model,
        wanted.value,
        summed.weight,
        summed.attributed_value
    from wanted
    left join summed
        on wanted.transaction_id = summed.transaction_id and wanted.model = summed.model
    where
        summed.weight is distinct from 1
        or summed.attributed_value is distinct from wanted.value
        or summed.least_currency is distinct from wanted.currency
        or summed.greatest_currency is distinct from wanted.currency
)

select * from differing
