{#- The dates that a query finds, as a list of constants. -#}
{% macro dates_of(query) -%}
    {%- set found = run_query(query).columns[0].values() if execute else [] -%}
    {{ return(sql_list(['-infinity'] + found | select | map('string') | list)) }}
{%- endmacro %}
