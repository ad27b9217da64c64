{#-
    Pre-hook: memory for the sorts and hashes of this model's transaction.
-#}
{% macro more_memory() -%}
    set local work_mem = '64MB'
{%- endmacro %}
