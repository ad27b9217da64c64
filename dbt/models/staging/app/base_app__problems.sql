{#- Of a row with several mistakes only the first one is listed. -#}
with

{%- set keys = {
    'transactions': 'transaction_id', 'profiles': 'profile_id', 'touchpoints': 'touchpoint_id',
} %}

left_out as (
    {%- for view, key in keys.items() %}
    select
        'app.{{ view }}' as source,
        nullif(brand_slug, '') as brand_slug,
        nullif({{ key }}, '') as key,
        problem
    from {{ ref('base_app__' ~ view) }}
    where problem is not null
    union all
    select
        'app.{{ view }}' as source,
        brand_slug,
        {{ key }} as key,
        key_problem as problem
    from {{ ref('base_app__repeated_' ~ view) }}
    where key_problem is not null
    union all
    {%- endfor %}
    select
        'app.exchange_rates' as source,
        null as brand_slug,
        base || '/' || quote || ' ' || rate_date as key,
        problem
    from {{ ref('base_app__exchange_rates') }}
    where problem is not null
),

counted as (
    select
        source,
        brand_slug,
        key,
        problem,
        count(*) as row_count
    from left_out
    group by source, brand_slug, key, problem
)

select * from counted
