{#- Few rows: those of a key that is there more than once are compared at once. -#}
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

compared as (
    select
        base,
        quote,
        rate,
        rate_date,
        case
            when mistake is not null then mistake
            when min(rate) over same_key <> max(rate) over same_key then 'duplicate'
            when row_number() over same_key > 1 then 'repeated'
        end as problem
    from judged
    window same_key as (partition by base, quote, rate_date, mistake)
)

select * from compared
