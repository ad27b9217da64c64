{#- The oldest touch of the path has it all. -#}
{% macro attribution_first_touch() -%}
    case when path.touch_index = 1 then 1 else 0 end
{%- endmacro %}
