{#-
    Views that others are built upon: by analysts, and by our own marts that are views.

    dbt's own puts a new view in the place of the old ("drop … cascade"), and with it goes whatever
    reads it, down to a view that an analyst made on a mart. This one stays as it is where nothing
    changed, so that nobody waits: whoever has read a view holds it until his transaction ends.
    Else it is replaced in place. Where its columns change so that Postgres refuses to, it is dropped
    with what reads it, which this very build makes anew; unless views of others are among that: then
    the build says which, and stops.
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
    {% call statement('main') -%}
        {{ view_replaced(target_relation, wanted) }}
    {%- endcall %}

    {% do apply_grants(target_relation, config.get('grants'), should_revoke=True) %}
    {% do persist_docs(target_relation, model) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}


{#-
    One statement, since a build has dozens of views, and seldom one that changes. What is refused is
    refused by Postgres, which knows of drops that dbt's cache does not.
-#}
{% macro view_replaced(relation, sql) %}
    do $build$
    declare
        wanted constant text := $view$ create or replace view {{ relation }} as ({{ sql }}) $view$;
        others text;
    begin
        if exists (
            select from pg_rewrite
            where
                ev_class = to_regclass('{{ relation }}')
                and obj_description(oid, 'pg_rewrite') = {{ view_made_of('wanted', relation) }}
        ) then
            return;
        end if;
        begin
            execute wanted;
        exception when invalid_table_definition then
            {{ views_of_others(relation) }} into others;
            if others is not null then
                raise exception '{{ columns_are_read_by(relation, "%") }}', others;
            end if;
            execute 'drop view {{ relation }} cascade';
            execute wanted;
        end;
        execute (
            select format(
                'comment on rule %I on {{ relation }} is %L',
                rulename,
                {{ view_made_of('wanted', relation) }}
            )
            from pg_rewrite
            where ev_class = to_regclass('{{ relation }}')
        );
    end
    $build$
{% endmacro %}


{#-
    A view's rule says in its comment what the view was made of: the statement; the columns of the
    view and of what it reads, of which `select *` says nothing; and the transaction that wrote the
    rule last, which is another one if somebody else has replaced the view since.
-#}
{% macro view_made_of(statement, relation) -%}
    {%- set relations = ["to_regclass('" ~ relation ~ "')"] -%}
    {%- for name in model.depends_on.nodes -%}
        {%- set node = graph.nodes.get(name) or graph.sources.get(name) -%}
        {%- if node and node.relation_name -%}
            {%- do relations.append("to_regclass('" ~ node.relation_name ~ "')") -%}
        {%- endif -%}
    {%- endfor -%}
    (
        select md5(
            {{ statement }} || pg_rewrite.xmin || string_agg(
                concat_ws(' ', attrelid, attname, atttypid, atttypmod), ',' order by attrelid, attnum
            )
        )
        from pg_attribute
        where
            attrelid in ({{ relations | join(', ') }})
            and attnum > 0
            and not attisdropped
    )
{%- endmacro %}


{#- Stops the build when views that this project does not make read a relation, at any remove. -#}
{% macro refuse_to_drop_views_of_others(relation) %}
    {%- set others = run_query(views_of_others(relation)).rows[0][0] -%}
    {%- if others is not none -%}
        {%- do exceptions.raise_compiler_error(columns_are_read_by(relation, others)) -%}
    {%- endif -%}
{% endmacro %}


{% macro columns_are_read_by(relation, views) -%}
    {{ relation.schema }}.{{ relation.identifier }}: its columns change, but these views read it: {{ views }}. Change or drop them, then build again. Nothing was changed.
{%- endmacro %}


{#- Names of the views that this project does not make and that read a relation, at any remove. -#}
{% macro views_of_others(relation) %}
    {%- set ours = [] -%}
    {%- for node in graph.nodes.values() -%}
        {%- do ours.append("'" ~ node.schema ~ '.' ~ node.alias ~ "'") -%}
    {%- endfor -%}
    with recursive readers as (
        select '{{ relation }}'::regclass::oid as oid
        union
        select pg_rewrite.ev_class from readers
        inner join pg_depend on refobjid = readers.oid and classid = 'pg_rewrite'::regclass
        inner join pg_rewrite on pg_rewrite.oid = pg_depend.objid
    )
    select string_agg(reader, ', ' order by reader)
    from (
        select relnamespace::regnamespace || '.' || relname as reader
        from readers inner join pg_class on pg_class.oid = readers.oid
    ) as named
    where reader not in ({{ ours | join(', ') }})
{% endmacro %}
