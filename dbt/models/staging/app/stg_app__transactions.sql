with

transactions as (
    {{ rows_that_count('transactions', 'transaction_id') }}
),

-- A refund without an amount is a full one.
refunded as (
    select
        *,
        coalesce(
            refunded_amount,
            case when status = 'refunded' or refunded_at is not null then amount else 0 end
        ) as refund
    from transactions
),

valued as (
    select
        transaction_id,
        brand_slug,
        nullif(profile_id, '') as profile_id,
        status,
        upper(currency) as currency,
        amount,
        refund as refunded_amount,
        coalesce(amount, 0) - coalesce(refund, 0) as value,
        status in ('completed', 'refunded') as is_revenue,
        transacted_at,
        refunded_at,
        updated_at
    from refunded
)

select * from valued
