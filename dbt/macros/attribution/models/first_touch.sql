{#- The oldest touch of the path has it all. -#}
{% macro winner_first_touch() -%}
    path.touch_index = 1
{%- endmacro %}
