{{
    config(
        materialized='table',
        post_hook='analyze {{ this }} (transaction_id, brand_slug, person_id)',
    )
}}

with

transactions as (
    select * from {{ ref('stg_app__transactions') }}
    where is_revenue
),

people as (
    select * from {{ ref('int_people') }}
),

brands as (
    select * from {{ ref('stg_tributary__brands') }}
),

identified as (
    select
        transactions.transaction_id,
        transactions.brand_slug,
        transactions.profile_id,
        coalesce(people.person_id, transactions.profile_id) as person_id,
        transactions.status,
        transactions.value,
        transactions.currency,
        coalesce(brands.time_zone, 'UTC') as brand_time_zone,
        transactions.transacted_at
    from transactions
    left join people
        on
            transactions.brand_slug = people.brand_slug
            and transactions.profile_id = people.profile_id
    left join brands on transactions.brand_slug = brands.brand_slug
),

ordered as (
    select
        *,
        case
            when person_id is not null then row_number() over purchases
        end as purchase_number,
        case
            when person_id is not null then lag(transacted_at) over purchases
        end as previous_purchase_at
    from identified
    window purchases as (
        partition by person_id, brand_slug
        order by transacted_at, transaction_id
    )
)

select * from ordered
