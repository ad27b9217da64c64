with

transactions as (
    select
        *,
        null as key_problem
    from {{ ref('base_app__transactions') }}
    -- Postgres expects that a `case` is true for half of the rows, and `is null` for one in 200.
    where case when problem is null then true else false end
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

renamed as (
    select
        transaction_id,
        brand_slug,
        nullif(profile_id, '') as profile_id,
        lower(trim(status)) as status,
        upper(currency) as currency,
        amount,
        coalesce(
            refunded_amount,
            case
                when lower(trim(status)) = 'refunded' or refunded_at is not null then amount
                else 0
            end
        ) as refunded_amount,
        coalesce(transacted_at, updated_at) as transacted_at,
        refunded_at,
        updated_at
    from unique_rows
),

valued as (
    select
        transaction_id,
        brand_slug,
        profile_id,
        status,
        currency,
        amount,
        refunded_amount,
        coalesce(amount, 0) - coalesce(refunded_amount, 0) as value,
        status in ('completed', 'refunded') as is_revenue,
        transacted_at,
        refunded_at,
        updated_at
    from renamed
)

select * from valued
