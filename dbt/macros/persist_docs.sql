{#-
    In place of dbt's own, which looks up the columns of each relation twice before it comments on
    them: a contract has said what they are.
-#}
{% macro postgres__persist_docs(relation, model, for_relation, for_columns) %}
    {%- set comments = [] -%}
    {%- if for_relation and config.persist_relation_docs() and model.description -%}
        {%- do comments.append(alter_relation_comment(relation, model.description)) -%}
    {%- endif -%}
    {%- if for_columns and config.persist_column_docs() -%}
        {%- for name, column in model.columns.items() if column.description -%}
            {%- do comments.append(
                "comment on column " ~ relation ~ "." ~ name ~ " is "
                ~ postgres_escape_comment(column.description)
            ) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- if comments -%}
        {%- do run_query(comments | join("; ")) -%}
    {%- endif -%}
{% endmacro %}
