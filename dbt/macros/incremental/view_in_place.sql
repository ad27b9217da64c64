{#-
    For a view in `marts`. dbt's own `view` drops the old view with whatever analysts made on it.
    This one leaves a view as it is where its definition is the same, so that no build waits for a
    reader, and else replaces it in place. Where its columns change, it is dropped and created;
    Postgres then names the views that read it, and nothing is changed. Such a view reads sources,
    marts and ephemeral models: what it reads is never dropped by a build.
-#}
{% materialization view_in_place, adapter='postgres' %}
    {%- set target = this.incorporate(type='view') -%}
    {%- set sql = get_select_subquery(sql) if config.get('contract').enforced else sql -%}
    {{ run_hooks(pre_hooks) }}
    {% do get_assert_columns_equivalent(sql) if config.get('contract').enforced %}
    {% call statement('main') -%}
        do $view$
        declare
            readers text;
        begin
            create temp view wanted as ({{ sql }});
            if pg_get_viewdef(to_regclass('{{ this }}'))
                is distinct from pg_get_viewdef('pg_temp.wanted'::regclass)
            then
                begin
                    create or replace view {{ this }} as ({{ sql }});
                exception when invalid_table_definition then
                    drop view {{ this }};
                    create view {{ this }} as ({{ sql }});
                end;
            end if;
            drop view wanted;
        exception when dependent_objects_still_exist then
            get stacked diagnostics readers = pg_exception_detail;
            raise exception '{{ this.schema }}.{{ this.identifier }}: its columns change, but %. '
                'Change or drop what reads it, then build again.', readers;
        end
        $view$
    {%- endcall %}
    {% do apply_grants(target, config.get('grants'), should_revoke=True) %}
    {% do persist_docs(target, model) %}
    {{ run_hooks(post_hooks) }}
    {{ adapter.commit() }}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}
