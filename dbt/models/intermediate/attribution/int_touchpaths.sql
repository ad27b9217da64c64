with

transactions as (
    select * from {{ ref('int_transactions') }}
),

touches as (
    select * from {{ ref('int_touchpoints_resolved') }}
),

first_touches as (
    select
        brand_slug,
        person_id,
        min(touched_at) as first_touched_at
    from touches
    group by brand_slug, person_id
),

paths as (
    {{ eligible_paths('transactions', 'touches', 'first_touches') }}
)

select * from paths
