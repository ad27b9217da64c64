with

transactions as (
    select * from {{ ref('int_transactions') }}
),

touches as (
    select * from {{ ref('int_touchpoints_resolved') }}
),

paths as (
    {{ eligible_paths('transactions', 'touches') }}
)

select * from paths
