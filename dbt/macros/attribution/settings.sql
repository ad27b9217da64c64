{#-
    A setting of the attribution: the var of this name in dbt_project.yml, or, before it, the
    environment variable TRIBUTARY_<NAME>, read as YAML: `14`, `true`, `[cpc, ppc]`.
-#}
{% macro attribution_setting(name) -%}
    {%- set given = env_var('TRIBUTARY_' ~ name | upper, '') -%}
    {%- set value = fromyaml(given) if given else var(name) -%}
    {%- if name.endswith('_days') and value is not number -%}
        {%- do exceptions.raise_compiler_error(
            "The setting " ~ name ~ " must be a number of days, not '" ~ value ~ "'."
        ) -%}
    {%- endif -%}
    {{ return(value) }}
{%- endmacro %}


{#- A list of words as SQL: ('a', 'b'). -#}
{% macro sql_list(words) -%}
    ({% for word in words %}'{{ word }}'{{ ', ' if not loop.last }}{% endfor %})
{%- endmacro %}


{#-
    How long before a purchase a touch counts: so many times 24 hours, by the touch's platform and
    whether it was a click or a view. What has no entry of its own has the general one.
-#}
{% macro lookback(platform, is_view) -%}
    {%- set general = attribution_setting('attribution_lookback_days') -%}
    {%- set special = attribution_setting('attribution_lookback_days_by_platform') or {} -%}
    interval '24 hours' * (
        case
            {%- for name, days in special.items() %}
            {%- if days is mapping %}
            {%- for kind in days %}
            when {{ platform }} = '{{ name }}' and {{ '' if kind == 'view' else 'not ' }}{{ is_view }}
                then {{ days[kind] }}
            {%- endfor %}
            {%- else %}
            when {{ platform }} = '{{ name }}' then {{ days }}
            {%- endif %}
            {%- endfor %}
            when {{ is_view }} then {{ attribution_setting('attribution_view_lookback_days') }}
            else {{ general }}
        end
    )
{%- endmacro %}


{#- The longest look-back of any touch, in days of 24 hours. -#}
{% macro longest_lookback_days() -%}
    {%- set days = [
        attribution_setting('attribution_lookback_days'),
        attribution_setting('attribution_view_lookback_days'),
    ] -%}
    {%- for special in (attribution_setting('attribution_lookback_days_by_platform') or {}).values() -%}
        {%- do days.extend(special.values() if special is mapping else [special]) -%}
    {%- endfor -%}
    {{ return(days | max) }}
{%- endmacro %}


{#-
    Whether a moment is late enough to count for a purchase: not before the look-back window, and,
    if paths are reset, after the person's previous purchase. Expects `purchases` and `clicked`.
-#}
{% macro in_window(moment) -%}
    (
        {{ moment }} >= purchases.transacted_at
        - {{ lookback('clicked.source_platform', 'clicked.is_view') }}
        {%- if attribution_setting('attribution_reset_after_purchase') %}
        and {{ moment }} > coalesce(purchases.previous_purchase_at, '-infinity')
        {%- endif %}
    )
{%- endmacro %}


{#- The models of the var `attribution_models`, a row each. -#}
{% macro model_rows() -%}
    (
        values
        {%- for model in attribution_setting('attribution_models') %}
        ('{{ model }}'){{ ',' if not loop.last }}
        {%- endfor %}
    )
{%- endmacro %}
