with

touches as (
    {{ touchpoints() }}
),

resolved as (
    {{ touchpoints_resolved('touches') }}
)

select * from resolved
