{#- One row per key and mistake, or none: few rows, so nothing is kept of them. -#}
with

source as (
    select
        nullif(upper(trim(base)), '') as base,
        nullif(upper(trim(quote)), '') as quote,
        rate::numeric as rate,
        rate_date::date as rate_date
    from {{ source('app', 'exchange_rates') }}
),

judged as (
    select
        *,
        case
            when base is null or quote is null or rate_date is null then 'key_missing'
            when not (rate_date >= '2000-01-01' and rate_date < '2100-01-01')
                then 'time_impossible'
            when not coalesce(rate > 0 and rate < 'Infinity', false) then 'rate_impossible'
        end as mistake
    from source
),

counted as (
    select
        base,
        quote,
        rate_date,
        mistake,
        case when count(distinct rate) = 1 then min(rate) end as rate,
        count(distinct rate) as version_count,
        count(*) as row_count
    from judged
    group by base, quote, rate_date, mistake
)

select * from counted
