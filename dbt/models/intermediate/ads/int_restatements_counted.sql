with

restatements as (
    select * from {{ ref('stg_tributary__restatements') }}
    where report = 'ad_insights'
),

counted as (
    select
        account_id,
        count(*)::integer as restatement_count,
        date,
        max(restated_at) as last_restated_at
    from restatements
    group by account_id, date
)

select * from counted
