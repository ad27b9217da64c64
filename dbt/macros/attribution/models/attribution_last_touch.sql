{#- The newest touch of the path has it all. -#}
{% macro attribution_last_touch() -%}
    case when path.touch_index = path.touch_count then 1 else 0 end
{%- endmacro %}
