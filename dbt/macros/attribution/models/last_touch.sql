{#- The newest touch of the path has it all. -#}
{% macro winner_last_touch() -%}
    path.touch_index = path.touch_count
{%- endmacro %}
