{#-
    dbt's own warns of every `numeric` without a precision. In Postgres that is the exact type that
    rounds nothing: what money needs.
-#}
{% macro postgres__get_empty_schema_sql(columns) %}
    select
    {%- for name in columns %}
        {%- if not columns[name].data_type -%}
            {%- do exceptions.column_type_missing(column_names=[name]) -%}
        {%- endif %}
        cast(null as {{ columns[name].data_type }}) as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{% endmacro %}
