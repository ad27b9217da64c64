{{
    config(
        post_hook='{{ warn_of_data_problems() }}',
        merge_exclude_columns=['seen_at'],
        indexes=[{'columns': ['id'], 'unique': true}, {'columns': ['source', 'brand_slug']}],
    )
}}
{%- set most = 1000 -%}
with

problems as (
    select * from {{ ref('base_app__problems') }}
),

-- A view that is wrong as a whole would fill this mart with all of its rows.
ranked as (
    select
        *,
        row_number() over same_problem as rank
    from problems
    window same_problem as (partition by source, brand_slug, problem order by key collate "C")
),

shown as (
    select
        source,
        {{ app_shown('brand_slug') }} as brand_slug,
        case when rank <= {{ most }} then {{ app_shown('key', "source = 'app.profiles'") }} end
            as key,
        problem,
        row_count
    from ranked
),

summed as (
    select
        source,
        brand_slug,
        key,
        problem,
        sum(row_count)::bigint as row_count
    from shown
    group by source, brand_slug, key, problem
),

keyed as (
    select
        md5(concat_ws('|', source, problem, quote_nullable(brand_slug), quote_nullable(key)))::uuid
            as id,
        source,
        brand_slug,
        key,
        problem,
        row_count
    from summed
),

dated as (
    select
        *,
        now() as seen_at
    from keyed
)

select * from dated
