-- Purchases that count as revenue and lack an amount, a currency, a brand that is known, or a time.
{{ config(severity='warn') }}

with

transactions as (
    select * from {{ ref('stg_app__transactions') }}
    where is_revenue
),

brands as (
    select * from {{ ref('stg_tributary__brands') }}
),

lacking as (
    select
        transactions.transaction_id,
        transactions.amount,
        transactions.currency,
        transactions.brand_slug,
        transactions.transacted_at
    from transactions
    left join brands on transactions.brand_slug = brands.brand_slug
    where
        transactions.amount is null
        or transactions.currency is null
        or brands.brand_slug is null
        or transactions.transacted_at is null
)

select * from lacking
