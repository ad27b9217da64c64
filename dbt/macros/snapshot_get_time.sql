{#- dbt's own has no time zone; ours are moments (timestamptz), like `extracted_at`. -#}
{% macro postgres__snapshot_get_time() -%}
    now()
{%- endmacro %}
