{#-
    Views that others are built upon: by analysts, and by our own marts that are views.

    dbt's own puts a new view in the place of the old ("drop … cascade"), and with it goes whatever
    reads it, down to a view that an analyst made on a mart. This one is replaced in place. Where its
    columns change so that Postgres refuses to, it is dropped with what reads it, which this very
    build makes anew; unless views of others are among that: then the build says which, and stops.
-#}
{% materialization view, adapter='postgres' %}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type='view') -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% if existing is not none and not existing.is_view %}
        {% do adapter.drop_relation(existing) %}
    {% endif %}
    {%- set wanted -%}
        {% if config.get('contract').enforced -%}
            {% do get_assert_columns_equivalent(sql) %}
            select {{ model.columns.keys() | join(', ') }} from (
                {{ sql }}
            ) as computed
        {%- else -%}
            {{ sql }}
        {%- endif %}
    {%- endset %}
    {# Asked of Postgres: this build may have dropped it with what it reads, unknown to dbt's cache. #}
    {% if run_query("select to_regclass('" ~ target_relation ~ "')").rows[0][0] is not none
        and view_columns_differ(target_relation, wanted) %}
        {% do refuse_to_drop_views_of_others(target_relation) %}
        {% do run_query("drop view " ~ target_relation ~ " cascade") %}
    {% endif %}
    {% call statement('main') -%}
        create or replace view {{ target_relation }} as (
            {{ wanted }}
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
{% macro view_columns_differ(relation, sql) %}
    {{ return(run_query(
        "create temp view wanted_view as " ~ sql ~ "; "
        "create temp table held_columns on commit drop as select count(*) as differing "
        "from pg_attribute as held left join pg_attribute as wanted "
        "on wanted.attrelid = 'wanted_view'::regclass and wanted.attnum = held.attnum "
        "where held.attrelid = '" ~ relation ~ "'::regclass and held.attnum > 0 and "
        "(held.attname, held.atttypid, held.atttypmod) is distinct from "
        "(wanted.attname, wanted.atttypid, wanted.atttypmod); "
        "drop view wanted_view; "
        "select differing from held_columns"
    ).rows[0][0] > 0) }}
{% endmacro %}


{#- Stops the build when views that this project does not make read a relation, at any remove. -#}
{% macro refuse_to_drop_views_of_others(relation) %}
    {%- set ours = [] -%}
    {%- for node in graph.nodes.values() -%}
        {%- do ours.append(node.schema ~ '.' ~ node.alias) -%}
    {%- endfor -%}
    {%- set foreign = [] -%}
    {%- for row in run_query(
        "with recursive readers as ("
        "select '" ~ relation ~ "'::regclass::oid as oid "
        "union "
        "select pg_rewrite.ev_class from readers "
        "inner join pg_depend on refobjid = readers.oid and classid = 'pg_rewrite'::regclass "
        "inner join pg_rewrite on pg_rewrite.oid = pg_depend.objid) "
        "select relnamespace::regnamespace || '.' || relname "
        "from readers inner join pg_class on pg_class.oid = readers.oid order by 1"
    ).rows if row[0] not in ours -%}
        {%- do foreign.append(row[0]) -%}
    {%- endfor -%}
    {%- if foreign -%}
        {%- do exceptions.raise_compiler_error(
            relation.schema ~ "." ~ relation.identifier ~ ": its columns change, but these views "
            "read it: " ~ foreign | join(', ')
            ~ ". Change or drop them, then build again. Nothing was changed."
        ) -%}
    {%- endif -%}
{% endmacro %}
