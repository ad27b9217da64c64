{#- Midnight UTC of a date: the same moment whatever the session's time zone. -#}
{% macro midnight(date) -%}
    ({{ date }}::timestamp at time zone 'UTC')
{%- endmacro %}
