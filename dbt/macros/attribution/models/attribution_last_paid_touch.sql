{#- The newest paid touch has it all; a path without one leaves the purchase unattributed. -#}
{% macro attribution_last_paid_touch() -%}
    case when path.touch_index = path.last_paid_index then 1 else 0 end
{%- endmacro %}
