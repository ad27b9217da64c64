{#- The days that a query finds, as a list of constants. -#}
{% macro newest_days(query) -%}
    {%- set days = ["date '-infinity'"] -%}
    {%- if execute -%}
        {%- for row in run_query(query).rows if row[0] is not none -%}
            {%- do days.append("date '" ~ row[0] ~ "'") -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return('(' ~ days | join(', ') ~ ')') }}
{%- endmacro %}
