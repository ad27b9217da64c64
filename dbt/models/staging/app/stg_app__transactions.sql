with

sound as (
    {{ app_sound_rows('transactions') }}
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
    from sound
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
