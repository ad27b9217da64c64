{#-
    dbt run-operation drop_schemas --target ci: drops the schemas of a target, with all that is in
    them. Those of prod are left alone.
-#}
{% macro drop_schemas() %}
    {%- if target.name == 'prod' -%}
        {{ exceptions.raise_compiler_error("The schemas of prod are dropped by hand alone: give --target dev or ci.") }}
    {%- endif -%}
    {%- for schema in graph.nodes.values() | selectattr('resource_type', 'in', ['model', 'seed', 'snapshot'])
        | map(attribute='schema') | unique if schema.startswith(target.schema ~ '_') -%}
        {%- do adapter.drop_schema(api.Relation.create(database=target.database, schema=schema)) -%}
    {%- endfor -%}
{% endmacro %}
