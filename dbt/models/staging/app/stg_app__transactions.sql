with

transactions as (
    select
        *,
        null as key_problem
    from {{ ref('base_app__transactions') }}
    where {{ usually('problem is null') }}
),

repeated as (
    select * from {{ ref('base_app__repeated_transactions') }}
),

-- Each key once.
unique_rows as (
    select transactions.*
    from transactions
    left join repeated
        on
            transactions.brand_slug = repeated.brand_slug
            and transactions.transaction_id = repeated.transaction_id
    where repeated.transaction_id is null
    union all
    select * from repeated
    where key_problem is null
),

-- A refund without an amount is a full one.
refunded as (
    select
        *,
        coalesce(
            refunded_amount,
            case when status = 'refunded' or refunded_at is not null then amount else 0 end
        ) as refund
    from unique_rows
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
