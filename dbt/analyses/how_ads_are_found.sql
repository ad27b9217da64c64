-- By what are the ads of touches known, and what does not resolve?
with

touches as (
    select * from {{ ref('int_touchpoints_resolved') }}
),

counted as (
    select
        brand_slug,
        source_platform,
        match_method,
        unresolved_reason,
        count(*) as touches,
        count(*) filter (where is_paid) as paid_touches
    from touches
    group by 1, 2, 3, 4
)

select * from counted
order by 1 asc, 5 desc
