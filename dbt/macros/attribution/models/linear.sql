{#- Each touch has the same share. -#}
{% macro shares_linear() -%}
    1
{%- endmacro %}
