-- Purchases that count as revenue and lack an amount or a currency.
{{ config(severity='warn') }}

with

transactions as (
    select * from {{ ref('stg_app__transactions') }}
    where is_revenue
),

lacking as (
    select
        transaction_id,
        brand_slug,
        amount,
        currency
    from transactions
    where amount is null or currency is null
)

select * from lacking
