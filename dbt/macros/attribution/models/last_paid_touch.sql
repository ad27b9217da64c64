{#- The newest paid touch has it all; a path without one leaves the purchase unattributed. -#}
{% macro winner_last_paid_touch() -%}
    path.touch_index = path.last_paid_index
{%- endmacro %}
