{#-
    Pre-hook of a mart: brings the columns of an existing table to the contract. A new column is
    added, one that the contract lacks is dropped, and one of another type is changed. Marts that are
    views and read it are created anew, without their grants; an analyst's view is named, and nothing
    is changed. A unique index of an older key is dropped.
-#}
{% macro adapt_columns() %}
    {%- if config.get('materialized') == 'incremental' and load_cached_relation(this) %}
    do $adapt$
    declare
        change record;
        ours text;
        definitions text[];
        definition text;
        others text;
    begin
        create temp view contract as {{ get_empty_schema_sql(model.columns) }};
        for change in
            select
                coalesce(held.attname, wanted.attname) as name,
                held.attnum as number,
                format_type(wanted.atttypid, wanted.atttypmod) as type,
                case
                    when held.attname is null then 'add column %1$I %2$s'
                    when wanted.attname is null then 'drop column %1$I'
                    else 'alter column %1$I type %2$s using %1$I::%2$s'
                end as clause
            from (select * from pg_attribute where attrelid = '{{ this }}'::regclass) as held
            full join (select * from pg_attribute where attrelid = 'contract'::regclass) as wanted
                on held.attname = wanted.attname
            where
                coalesce(held.attnum, wanted.attnum) > 0
                and held.attisdropped is not true
                and (held.atttypid, held.atttypmod) is distinct from (wanted.atttypid, wanted.atttypmod)
        loop
            with recursive readers as (
                select pg_rewrite.ev_class
                from pg_depend
                inner join pg_rewrite on pg_rewrite.oid = pg_depend.objid
                where refobjid = '{{ this }}'::regclass and refobjsubid = change.number
                union
                select pg_rewrite.ev_class
                from readers
                inner join pg_depend on refobjid = readers.ev_class
                inner join pg_rewrite on pg_rewrite.oid = pg_depend.objid
            )
            select
                string_agg(name, ', ' order by name) filter (where name in ({{ our_views() }})),
                string_agg(name, ', ' order by name) filter (where name not in ({{ our_views() }})),
                array_agg('create view ' || name || ' as ' || pg_get_viewdef(oid))
            into ours, others, definitions
            from readers
            inner join pg_class on pg_class.oid = readers.ev_class
            cross join lateral (select relnamespace::regnamespace || '.' || relname as name) as named;
            if others is not null then
                raise exception '{{ this.schema }}.{{ this.identifier }}: the column % is to %, '
                    'but these views read it: %. Change or drop them, then build again.',
                    change.name, coalesce('change its type to ' || change.type, 'go'), others;
            end if;
            execute coalesce('drop view if exists ' || ours || ' cascade', 'select');
            execute 'alter table {{ this }} ' || format(change.clause, change.name, change.type);
            foreach definition in array coalesce(definitions, '{}') loop
                begin
                    execute definition;
                exception when undefined_column then
                    null;  -- it reads the column that went: the build of the view replaces it
                end;
            end loop;
        end loop;
        drop view contract;
    end
    $adapt$;
    {%- for index in run_query(indexes_of(this)).rows
        if index['description'].startswith('unique ') and index['description'] not in keys_of_model() %}
    {{ index['drop'] }};
    {%- endfor %}
    {%- endif %}
{% endmacro %}


{#- Post-hook of a mart: indexes and `not null` of the contract that an older table lacks. -#}
{% macro add_missing_indexes() %}
    {%- if config.get('materialized') == 'incremental' -%}
    {%- set held = run_query(indexes_of(this)).columns['description'].values() -%}
    {%- for index in config.get('indexes', [])
        if ('unique ' if index.get('unique') else '') ~ index.columns | join(',') not in held %}
    {{ get_create_index_sql(this, index) }};
    {%- endfor %}
    {%- set nullable = run_query(
        "select attname from pg_attribute where attnum > 0 and not attnotnull and attrelid = '"
        ~ this ~ "'::regclass"
    ).columns[0].values() -%}
    {%- for name, column in model.columns.items()
        if name in nullable and 'not_null' in column.constraints | map(attribute='type')
        and not run_query("select 1 from " ~ this ~ " where " ~ name ~ " is null limit 1").rows %}
    alter table {{ this }} alter column {{ name }} set not null;
    {%- endfor %}
    {%- endif -%}
{% endmacro %}


{% macro indexes_of(relation) %}
    select
        case when indisunique then 'unique ' else '' end || array_to_string(array(
            select attname from unnest(indkey) with ordinality as key (number, place)
            inner join pg_attribute on attrelid = indrelid and attnum = number
            order by place
        ), ',') as description,
        coalesce(
            'alter table {{ relation }} drop constraint ' || quote_ident(conname),
            'drop index ' || indexrelid::regclass
        ) as drop
    from pg_index
    left join pg_constraint on conindid = indexrelid and contype in ('p', 'u')
    where indrelid = '{{ relation }}'::regclass
{% endmacro %}


{#- The keys of the model as `indexes_of` describes them: 'unique transaction_id,brand_slug'. -#}
{% macro keys_of_model() -%}
    {%- set key = config.get('unique_key') -%}
    {%- set keys = ['unique ' ~ (key if key is string else key | join(','))] -%}
    {%- for index in config.get('indexes', []) if index.get('unique') -%}
        {%- do keys.append('unique ' ~ index.columns | join(',')) -%}
    {%- endfor -%}
    {{ return(keys) }}
{%- endmacro %}


{% macro our_views() -%}
    ''
    {%- for node in graph.nodes.values() if node.config.materialized == 'view_in_place' -%}
    , '{{ node.schema }}.{{ node.alias }}'
    {%- endfor -%}
{%- endmacro %}
