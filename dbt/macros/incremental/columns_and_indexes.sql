{#-
    Pre-hook of a mart: what dbt's `append_new_columns` leaves to us. A column that the contract no
    longer has is dropped, and one of another type is changed. Views of this project that read it
    are dropped, and this build creates them again; a view of somebody else is named, and nothing is
    changed. A unique index of an older key is dropped. The lock makes a second build of the same
    mart wait; readers go on.
-#}
{% macro adapt_columns() %}
    {%- if config.get('materialized') == 'incremental' and load_cached_relation(this) %}
    lock table {{ this }} in share row exclusive mode;
    do $adapt$
    declare
        change record;
        ours text;
        others text;
        outdated text;
    begin
        create temp view contract as {{ get_empty_schema_sql(model.columns) }};
        for change in
            select
                held.attname as name,
                held.attnum as number,
                format_type(held.atttypid, held.atttypmod) as type,
                format_type(wanted.atttypid, wanted.atttypmod) as wanted_type
            from pg_attribute as held
            left join pg_attribute as wanted
                on wanted.attrelid = 'contract'::regclass and wanted.attname = held.attname
            where held.attrelid = '{{ this }}'::regclass and held.attnum > 0 and not held.attisdropped
        loop
            continue when change.type = change.wanted_type;
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
            ),
            named as (
                select relnamespace::regnamespace || '.' || relname as name
                from readers
                inner join pg_class on pg_class.oid = readers.ev_class
            )
            select
                string_agg(name, ', ' order by name) filter (where name in ({{ names_of_views() }})),
                string_agg(name, ', ' order by name) filter (where name not in ({{ names_of_views() }}))
            into ours, others
            from named;
            if others is not null then
                raise exception '{{ this.schema }}.{{ this.identifier }}: the column % is to %, '
                    'but these views read it: %. Change or drop them, then build again.',
                    change.name,
                    coalesce('change its type to ' || change.wanted_type, 'go'),
                    others;
            end if;
            execute coalesce('drop view if exists ' || ours || ' cascade', 'select');
            execute 'alter table {{ this }} ' || case
                when change.wanted_type is null then format('drop column %I', change.name)
                else format('alter %1$I type %2$s using %1$I::%2$s', change.name, change.wanted_type)
            end;
        end loop;
        drop view contract;
        for outdated in
            select coalesce(
                'alter table {{ this }} drop constraint ' || quote_ident(conname),
                'drop index ' || indexrelid::regclass
            )
            from ({{ indexes_of(this) }}) as held
            left join pg_constraint on conindid = indexrelid and contype in ('p', 'u')
            where is_unique and columns not in ({{ keys_of_model() }})
        loop
            execute outdated;
        end loop;
    end
    $adapt$
    {%- endif %}
{% endmacro %}


{#- Post-hook of a mart: indexes and `not null` of the contract that an older relation lacks. -#}
{% macro add_missing_indexes() %}
    {%- if config.get('materialized') == 'incremental' -%}
    {%- set held = [] -%}
    {%- for row in run_query(indexes_of(this)).rows -%}
        {%- do held.append((row['columns'], row['is_unique'])) -%}
    {%- endfor -%}
    {%- for index in config.get('indexes', [])
        if (index.columns | join(','), index.get('unique', false)) not in held -%}
        {%- do run_query(get_create_index_sql(this, index)) -%}
    {%- endfor %}
    do $nulls$
    declare
        required text;
        has_nulls boolean;
    begin
        for required in
            select attname
            from pg_attribute
            where
                attrelid = '{{ this }}'::regclass
                and not attnotnull
                and attname in (
                    ''
                    {%- for name, column in model.columns.items()
                        if 'not_null' in column.constraints | map(attribute='type') %},
                    '{{ name }}'
                    {%- endfor %}
                )
        loop
            execute format('select exists (select from {{ this }} where %I is null)', required)
            into has_nulls;
            if not has_nulls then
                execute format('alter table {{ this }} alter %I set not null', required);
            end if;
        end loop;
    end
    $nulls$
    {%- endif -%}
{% endmacro %}


{% macro indexes_of(relation) %}
    select
        indexrelid,
        indisunique as is_unique,
        (
            select string_agg(attname, ',' order by ordinality)
            from unnest(indkey) with ordinality as key (attnum, ordinality)
            inner join pg_attribute on attrelid = indrelid and pg_attribute.attnum = key.attnum
        ) as columns
    from pg_index
    where indrelid = '{{ relation }}'::regclass
{% endmacro %}


{#- The columns of each key that the model has, as a list of texts: 'id', 'transaction_id,model'. -#}
{% macro keys_of_model() -%}
    {%- set key = config.get('unique_key') -%}
    '{{ key if key is string else key | join(',') }}'
    {%- for index in config.get('indexes', []) if index.get('unique') -%}
    , '{{ index.columns | join(',') }}'
    {%- endfor -%}
{%- endmacro %}


{% macro names_of_views() -%}
    ''
    {%- for node in graph.nodes.values() if node.config.materialized == 'view_in_place' -%}
    , '{{ node.schema }}.{{ node.alias }}'
    {%- endfor -%}
{%- endmacro %}


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
