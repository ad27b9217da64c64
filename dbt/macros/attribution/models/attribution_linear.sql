{#- Each touch has the same share. -#}
{% macro attribution_linear() -%}
    1
{%- endmacro %}
