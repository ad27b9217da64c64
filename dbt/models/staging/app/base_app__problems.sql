{#- Of a row with several mistakes only the first one is listed. -#}
with

{%- for name in ['transactions', 'profiles', 'touchpoints'] %}

{{ name }} as (
    select
        nullif(brand_slug, '') as brand_slug,
        nullif({{ app_view(name).id }}::text, '') as key,
        {{ app_mistake(name) }} as problem
    from {{ source('app', name) }}
    where not ({{ app_is_sound(name) }})
),

repeated_{{ name }} as (
    select
        brand_slug,
        {{ app_view(name).id }}::text as key,
        version_count,
        row_count
    from {{ ref('base_app__repeated_' ~ name) }}
),
{%- endfor %}

exchange_rates as (
    select * from {{ ref('base_app__exchange_rates') }}
),

problems as (
    {%- for name in ['transactions', 'profiles', 'touchpoints'] %}
    select
        'app.{{ name }}' as source,
        brand_slug,
        key,
        problem,
        count(*) as row_count
    from {{ name }}
    group by brand_slug, key, problem
    union all
    select
        'app.{{ name }}' as source,
        brand_slug,
        key,
        case when version_count = 1 then 'repeated' else 'duplicate' end as problem,
        sum(row_count) - (version_count = 1)::int as row_count
    from repeated_{{ name }}
    group by brand_slug, key, version_count
    union all
    {%- endfor %}
    select
        'app.exchange_rates' as source,
        null as brand_slug,
        base || '/' || quote || ' ' || rate_date as key,
        coalesce(mistake, case when version_count = 1 then 'repeated' else 'duplicate' end)
            as problem,
        row_count - (mistake is null and version_count = 1)::int as row_count
    from exchange_rates
    where mistake is not null or version_count > 1 or row_count > 1
)

select * from problems
