{#-
    A view that people build upon. dbt's own `view` puts a new one in the place of the old ("drop …
    cascade"), and the views that analysts made on it go with it. This one is replaced in place;
    where its columns change so that Postgres refuses to, it is dropped, unless views of others
    read it: then the build says so, and stops.
-#}
{% materialization mart_view, adapter='postgres' %}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type='view') -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% if existing is not none and not existing.is_view %}
        {% do exceptions.raise_compiler_error(
            this ~ " is a " ~ existing.type ~ ", not a view. Drop it, then build again."
        ) %}
    {% endif %}
    {% do get_assert_columns_equivalent(sql) %}
    {% if existing is not none and mart_view_columns_differ(target_relation, sql) %}
        {% do run_query("drop view " ~ target_relation ~ " restrict") %}
    {% endif %}
    {% call statement('main') -%}
        create or replace view {{ target_relation }} as (
            select {{ model.columns.keys() | join(', ') }} from (
                {{ sql }}
            ) as computed
        );
    {%- endcall %}

    {% do apply_grants(target_relation, config.get('grants'), should_revoke=True) %}
    {% do persist_docs(target_relation, model) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}


{#- Whether a view has other columns than the query: new ones at the end are no difference. -#}
{% macro mart_view_columns_differ(relation, sql) %}
    {%- do run_query("create temp view mart_view_wanted as select " ~ model.columns.keys()
        | join(', ') ~ " from (" ~ sql ~ ") as computed") -%}
    {%- set differing = run_query(
        "select count(*) from pg_attribute as held left join pg_attribute as wanted "
        "on wanted.attrelid = 'mart_view_wanted'::regclass and wanted.attnum = held.attnum "
        "where held.attrelid = '" ~ relation ~ "'::regclass and held.attnum > 0 and "
        "(held.attname, held.atttypid, held.atttypmod) is distinct from "
        "(wanted.attname, wanted.atttypid, wanted.atttypmod)"
    ).rows[0][0] -%}
    {%- do run_query("drop view mart_view_wanted") -%}
    {{ return(differing > 0) }}
{% endmacro %}
