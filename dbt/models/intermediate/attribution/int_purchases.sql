{{
    config(
        materialized='incremental',
        unique_key=['transaction_id', 'brand_slug'],
        indexes=[{'columns': ['transaction_id', 'brand_slug'], 'unique': true}],
    )
}}
{#-
    Remembers of each purchase when its own row changed last: any of these columns. A purchase that
    is gone, or no revenue any more, is remembered for a week, so that its rows in the marts go.
-#}
{%- set own_columns = [
    'profile_id', 'person_id', 'status', 'value', 'currency', 'brand_time_zone',
    'reporting_currency', 'transacted_at', 'purchase_number', 'previous_purchase_at',
] %}

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
        upper(brands.reporting_currency) as reporting_currency,
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
),

held as (
    {%- if is_incremental() %}
    select * from {{ this }}
    {%- else %}
    select
        *,
        false as is_gone,
        null::timestamptz as changed_at
    from ordered
    where false
    {%- endif %}
),

dated as (
    select
        ordered.*,
        false as is_gone,
        coalesce(held.changed_at, now()) as changed_at
    from ordered
    left join held
        on
            ordered.transaction_id = held.transaction_id
            and ordered.brand_slug = held.brand_slug
            and not held.is_gone
            and ({{ columns_of(own_columns, 'ordered') }})
            is not distinct from ({{ columns_of(own_columns, 'held') }})
    union all
    select
        held.transaction_id,
        held.brand_slug,
        {{ columns_of(own_columns, 'held') }},
        true as is_gone,
        case when held.is_gone then held.changed_at else now() end as changed_at
    from held
    left join ordered
        on
            held.transaction_id = ordered.transaction_id
            and held.brand_slug = ordered.brand_slug
    where
        ordered.transaction_id is null
        and (not held.is_gone or held.changed_at > now() - interval '7 days')
)

select * from dated
