{#-
    What each touch of a path has by each model of the var `attribution_models`: `<model>_weight` and
    `<model>_value`, null where it has nothing; and `<model>_missing`, whether no touch of the path
    has anything.

    All models are computed side by side, so that paths are sorted once, not once a model. Shares are
    counted in units of 10⁻¹² and values in cents; the newest touch takes what is left. A value a
    ten-thousandth of a cent short of a full cent is a full cent: of 3.00 a third is 1.00.
-#}
{%- set models = attribution_setting('attribution_models') %}
{%- set default = attribution_setting('attribution_default_model') %}
{%- set winners = models | select('in', models_of_kind('winner')) | list %}
{%- set sharing = models | reject('in', winners) | list %}

-- noqa: disable=LT02
with

paths as (
    select * from {{ ref('int_touchpaths') }}
),

judged as (
    select
        path.*
        {%- for model in winners %},
        path.touch_index > 0 and {{ model_sql('winner', model) }} as {{ model }}_wins
        {%- endfor %}
        {%- for model in sharing %},
        case
            when path.touch_index > 0 then {{ model_sql('shares', model) }}::float8
        end as {{ model }}_raw
        {%- endfor %}
    from paths as path
),

shared as (
    select
        *
        {%- for model in winners %},
        not coalesce(bool_or({{ model }}_wins) over whole_path, false) as {{ model }}_missing
        {%- endfor %}
        {%- for model in sharing %},
        {{ model }}_raw / nullif(sum({{ model }}_raw) over whole_path, 0) as {{ model }}_ratio
        {%- endfor %}
    from judged
    window whole_path as (partition by transaction_id, brand_slug)
),

rounded as (
    select
        *
        {%- for model in sharing %},
        case
            when touch_index < touch_count
                then round({{ model }}_ratio * 1000000000000)::bigint
        end as {{ model }}_share,
        case
            when touch_index < touch_count
                then trunc(
                    value::float8 * 100 * {{ model }}_ratio + 0.0001 * sign(value)::float8
                )::bigint
        end as {{ model }}_cents
        {%- endfor %}
    from shared
),

weighted as (
    select
        transaction_id,
        brand_slug,
        touchpoint_id,
        touch_index,
        touch_count,
        no_path_reason,
        value
        {%- for model in winners %},
        case when {{ model }}_wins then 1::numeric end as {{ model }}_weight,
        case when {{ model }}_wins then value end as {{ model }}_value,
        {{ model }}_missing
        {%- endfor %}
        {%- for model in sharing %},
        case
            when touch_index < touch_count then {{ model }}_share * 0.000000000001
            when touch_index > 0
                then 1 - coalesce(sum({{ model }}_share) over whole_path, 0) * 0.000000000001
        end as {{ model }}_weight,
        case
            when touch_index < touch_count then {{ model }}_cents * 0.01
            when touch_index > 0
                then value - coalesce(sum({{ model }}_cents) over whole_path, 0) * 0.01
        end as {{ model }}_value,
        touch_index = 0 as {{ model }}_missing
        {%- endfor %}
    from rounded
    window whole_path as (partition by transaction_id, brand_slug)
),

-- With the most credit by the default model, the newest of equals; without one, the first.
ranked as (
    select
        *,
        row_number() over (
            partition by transaction_id, brand_slug
            order by
                {{ default }}_weight desc nulls last,
                case when {{ default }}_missing then -touch_index else touch_index end desc
        ) = 1 as is_winner
    from weighted
)

select * from ranked
