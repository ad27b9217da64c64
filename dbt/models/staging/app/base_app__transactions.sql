{#-
    Casts the user's columns, and names the first mistake of each row by itself. No `with` here, so
    that Postgres looks through this view.
-#}
select
    *,
    case
        when coalesce(transaction_id, '') = '' or {{ is_placeholder('transaction_id') }}
            then 'key_missing'
        when coalesce(brand_slug, '') = '' then 'brand_missing'
        when
            brand_slug not in (
                select brands.slug
                from (select * from {{ source('tributary', 'brands') }}) as brands
            )
            then 'brand_unknown'
        when coalesce(status, '') not in ('completed', 'pending', 'cancelled', 'refunded')
            then 'status_unknown'
        -- Cents are counted in a double. Postgres sorts NaN after all numbers.
        when abs(amount) >= 1e13 or refunded_amount not between 0 and 1e13
            then 'amount_impossible'
        when transacted_at is null and status in ('completed', 'refunded') then 'time_missing'
        when transacted_at < '2000-01-01 00:00:00+00' or transacted_at > now() + interval '24 hours'
            then 'time_impossible'
    end as problem
from (
    select
        transaction_id::text as transaction_id,
        brand_slug::text as brand_slug,
        profile_id::text as profile_id,
        lower(trim(status::text)) as status,
        currency::text as currency,
        amount::numeric as amount,
        refunded_amount::numeric as refunded_amount,
        coalesce(transacted_at, updated_at)::timestamptz as transacted_at,
        refunded_at::timestamptz as refunded_at,
        updated_at::timestamptz as updated_at
    from {{ source('app', 'transactions') }}
) as purchases
