{#-
    Shares of each touch by each model of the var `attribution_models`: `<model>_weight`,
    `<model>_value`, and `<model>_last`, the newest touch that has a share, which takes what rounding
    leaves (null: no touch has one).

    All models are computed side by side, so that paths are sorted once, not once a model.

    Args:
        paths: relation with the columns of `eligible_paths()`.
-#}
{% macro weighted_paths(paths) %}
    {%- set models = attribution_setting('attribution_models') %}
    select
        *,
        {%- for model in models %}
        case
            when touch_index = {{ model }}_last
                then 1 - coalesce(sum({{ model }}_share) over whole_path, 0)
            else {{ model }}_share
        end as {{ model }}_weight,
        case
            when touch_index = {{ model }}_last
                then value - coalesce(sum({{ model }}_part) over whole_path, 0)
            else {{ model }}_part
        end as {{ model }}_value{{ ',' if not loop.last }}
        {%- endfor %}
    from (
        select
            *,
            {%- for model in models %}
            case when touch_index < {{ model }}_last then {{ model }}_ratio end as {{ model }}_share,
            case
                when touch_index < {{ model }}_last then trunc(value * {{ model }}_ratio, 2)
            end as {{ model }}_part{{ ',' if not loop.last }}
            {%- endfor %}
        from (
            select
                *,
                {%- for model in models %}
                trunc(
                    ({{ model }}_raw / nullif(sum({{ model }}_raw) over whole_path, 0))::numeric, 12
                ) as {{ model }}_ratio,
                max(touch_index) filter (where {{ model }}_raw > 0) over whole_path
                    as {{ model }}_last{{ ',' if not loop.last }}
                {%- endfor %}
            from (
                select
                    path.*,
                    {%- for model in models %}
                    case
                        when path.touch_index > 0
                            then {{ context['attribution_' ~ model]() }}::float8
                    end as {{ model }}_raw{{ ',' if not loop.last }}
                    {%- endfor %}
                from {{ paths }} as path
            ) as counted
            window whole_path as (partition by transaction_id)
        ) as shared
    ) as rounded
    window whole_path as (partition by transaction_id)
{% endmacro %}
