{#-
    A table that people build upon.

    dbt's own `table` and `incremental` put a new relation in the place of the old one ("drop …
    cascade"), and every view that an analyst made goes with it. A mart is created once and keeps
    its relation: a build computes the rows aside, and then, in one transaction, deletes those that
    vanished, updates those that differ and inserts the new ones. Readers see the old rows until the
    commit, and rows that stay the same are not written at all. `--full-refresh` computes everything
    anew but keeps the relation, too.

    Settings, besides the contract, which must be enforced:
      unique_key  the column that tells rows apart, or a list of them;
      fillfactor  for a mart whose rows are updated often: how full its pages are written, in
                  percent. With 50, a page has room for a second version of each of its rows: an
                  update then touches no index and leaves nothing to vacuum. Heeded when the table
                  is created;
      slices      for a mart that is too large to compute whole: the model that lists its slices
                  (say, account-days) with whatever decides what stands in them;
      slice_by    the columns of a slice's key; needs an index of the mart that begins with them;
      slices_kept whether what decided a slice is kept beside the mart (intermediate.<mart>__kept)
                  and not in its rows: for slices as many as the rows;
      slices_narrowed_by  of such a mart: a macro whose query tells of stale slices, at a cost that
                  only few are worth, exactly what they are computed from: (slice_by, exact_hash).
                  Those of which that is the kept one are not computed.

    With slices, a build computes only those that are stale. See `mart_stale_slices`.

    A column that the contract gains is added, and the mart computed whole. A column that goes or
    changes its type does so, too, unless views read it: then the build says which, and stops. A key
    of other columns takes the place of the old one, and the mart is computed whole.
-#}
{% materialization mart, adapter='postgres' %}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set fresh = make_temp_relation(target_relation) -%}
    {%- set slices = config.get('slices') -%}

    {% if existing is not none and not existing.is_table %}
        {% do exceptions.raise_compiler_error(
            this ~ " is a " ~ existing.type ~ ", not a table. Drop it, then build again."
        ) %}
    {% endif %}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% set everything = true %}
    {% if existing is none %}
        {% do mart_stale_slices(target_relation, none) if slices %}
        {% call statement('main') -%}
            {{ get_assert_columns_equivalent(sql) }}
            create table {{ target_relation }}
            with (fillfactor = {{ config.get('fillfactor', 100) }})
            as {{ mart_rows(sql, typed=true) }};
            {{ mart_add_constraints(target_relation) }};
            analyze {{ target_relation }}
        {%- endcall %}
    {% else %}
        {# One build at a time; readers go on. #}
        {% do run_query("lock table " ~ target_relation ~ " in share row exclusive mode") %}
        {% do run_query(
            "create temp table " ~ fresh ~ " on commit drop as select * from ("
            ~ get_empty_schema_sql(model.columns) ~ ") as contract where false"
        ) %}
        {% set added = mart_adapt_columns(target_relation, fresh) %}
        {% set has_another_key = mart_drop_other_keys(target_relation) %}
        {% set everything = should_full_refresh() or added is not none or has_another_key
            or not mart_keeps_slices(target_relation) %}
        {% do mart_stale_slices(target_relation, none if everything else existing) if slices %}
        {% do get_assert_columns_equivalent(sql) %}
        {% do run_query(mart_insert(fresh, sql)) %}
        {% call statement('main') -%}
            {{ mart_exchange_rows(target_relation, fresh, sliced=slices and not everything) }}
        {%- endcall %}
        {% do mart_forbid_nulls(target_relation) %}
        {% if has_another_key %}
            {% do run_query(
                "alter table " ~ target_relation ~ " add primary key ("
                ~ mart_primary_key() | join(', ') ~ ")"
            ) %}
        {% endif %}
    {% endif %}
    {% do mart_keep_slices(target_relation, everything) if config.get('slices_kept') %}

    {% do mart_create_missing_indexes(target_relation) %}
    {% do apply_grants(target_relation, config.get('grants'), should_revoke=True) %}
    {% do persist_docs(target_relation, model) %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}


{% macro mart_rows(sql, typed=false) %}
    select
    {%- for name, column in model.columns.items() %}
        {{ name ~ ('::' ~ column.data_type ~ ' as ' ~ name if typed) }}{{ ',' if not loop.last }}
    {%- endfor %}
    from (
        {{ sql }}
    ) as computed
{% endmacro %}


{% macro mart_insert(relation, sql) %}
    insert into {{ relation }} ({{ mart_columns(model.columns.keys()) }})
    {{ mart_rows(sql) }}
{% endmacro %}


{#-
    The contract's constraints, once the rows are there: a key is sorted once, and not found its
    place row by row, and the rows can be computed in parallel.
-#}
{% macro mart_add_constraints(relation) %}
    {%- set added = adapter.render_raw_model_constraints(raw_constraints=model.constraints) -%}
    {%- for name, column in model.columns.items() -%}
        {%- for constraint in column.constraints -%}
            {%- if constraint.type == 'not_null' -%}
                {%- do added.append('alter column ' ~ name ~ ' set not null') -%}
            {%- elif constraint.type == 'primary_key' -%}
                {%- do added.append('primary key (' ~ name ~ ')') -%}
            {%- else -%}
                {%- do exceptions.raise_compiler_error(
                    this ~ ", column " ~ name ~ ": a mart knows the constraints not_null and "
                    "primary_key of a column; say " ~ constraint.type ~ " of the model."
                ) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- for change in added %}
    {{ 'alter table ' ~ relation if loop.first }}
    {{ change if change.startswith('alter') else 'add ' ~ change }}{{ ',' if not loop.last }}
    {%- endfor %}
{% endmacro %}


{#-
    Delete what vanished, update what differs, insert what is new: held and fresh rows are compared
    once, and written is only what that finds. A key that is fresh in one slice and held in another
    is a mistake: it meets the primary key, and the build fails.
-#}
{% macro mart_exchange_rows(relation, fresh, sliced) %}
    {%- set key = config.get('unique_key') -%}
    {%- set key = [key] if key is string else key -%}
    {%- set names = model.columns.keys() -%}
    {%- set changes = make_temp_relation(relation, '__changes') -%}
    create temp table {{ changes }} on commit drop as
    select
        held.ctid as held_row,
        {{ mart_columns(names, 'fresh') }}
    from (
        select
            ctid,
            *
        from {{ relation }}
        {%- if sliced %}
        {#- Said twice: by arrays, rows are found through the index of the slices' key. #}
        where
            ({{ mart_columns(config.get('slice_by')) }}) in (
                select {{ mart_columns(config.get('slice_by'), 'slices') }}
                from {{ mart_slices(relation) }} as slices
            )
            {%- for name in config.get('slice_by') %}
            and {{ name }} = any(
                array(select slices.{{ name }} from {{ mart_slices(relation) }} as slices)
            )
            {%- endfor %}
        {%- endif %}
    ) as held
    full join {{ fresh }} as fresh
        on
            {% for name in key -%}
            fresh.{{ name }} = held.{{ name }}{{ ' and ' if not loop.last }}
            {%- endfor %}
    where
        ({{ mart_columns(names, 'fresh') }})
        is distinct from ({{ mart_columns(names, 'held') }});
    analyze {{ changes }} (held_row);
    delete from {{ relation }} as held
    using {{ changes }} as fresh
    where held.ctid = fresh.held_row and fresh.{{ key[0] }} is null;
    update {{ relation }} as held
    set ({{ mart_columns(names) }}) = row({{ mart_columns(names, 'fresh') }})
    from {{ changes }} as fresh
    where held.ctid = fresh.held_row and fresh.{{ key[0] }} is not null;
    insert into {{ relation }} ({{ mart_columns(names) }})
    select {{ mart_columns(names) }}
    from {{ changes }}
    where held_row is null
{% endmacro %}


{% macro mart_columns(names, alias=none) -%}
    {%- for name in names %}{{ alias ~ '.' if alias }}{{ name }}{{ ', ' if not loop.last }}{% endfor -%}
{%- endmacro %}


{#-
    Bring the held columns to the contract's. Returns none when nothing changed, else the names of
    the columns that were added.
-#}
{% macro mart_adapt_columns(relation, fresh) %}
    {%- set differences = run_query(
        "
        with wanted as (
            select attname as name, format_type(atttypid, atttypmod) as type
            from pg_attribute
            where attrelid = '" ~ fresh ~ "'::regclass and attnum > 0 and not attisdropped
        ),
        held as (
            select attname as name, format_type(atttypid, atttypmod) as type, attnum
            from pg_attribute
            where attrelid = '" ~ relation ~ "'::regclass and attnum > 0 and not attisdropped
        )
        select
            coalesce(wanted.name, held.name)::text as name,
            wanted.type as wanted,
            held.type as held,
            (
                select string_agg(distinct relnamespace::regnamespace || '.' || relname, ' ')
                from pg_depend
                inner join pg_rewrite on pg_rewrite.oid = pg_depend.objid
                inner join pg_class on pg_class.oid = pg_rewrite.ev_class
                where
                    classid = 'pg_rewrite'::regclass
                    and refobjid = '" ~ relation ~ "'::regclass
                    and refobjsubid = held.attnum
            ) as views
        from wanted
        full join held on wanted.name = held.name
        where wanted.type is distinct from held.type
        order by 1
        "
    ) -%}
    {%- if differences.rows | length == 0 -%}{{ return(none) }}{%- endif -%}
    {#- The project's own views are made anew by this very build; everybody else's must stay. -#}
    {%- set our_views = {} -%}
    {%- for node in graph.nodes.values() if node.config.materialized == 'view' -%}
        {%- do our_views.update({node.schema ~ '.' ~ node.alias: node}) -%}
    {%- endfor -%}
    {%- for column in differences.rows if column['held'] is not none -%}
        {%- set foreign = (column['views'] or '').split() | reject('in', our_views) | list -%}
        {%- if foreign -%}
            {%- do exceptions.raise_compiler_error(
                relation.schema ~ "." ~ relation.identifier ~ ": the column " ~ column['name'] ~ " "
                ~ ("is to go" if column['wanted'] is none
                    else "is to change from " ~ column['held'] ~ " to " ~ column['wanted'])
                ~ ", but these views read it: " ~ foreign | join(', ')
                ~ ". Change or drop them, then build again. Nothing was changed."
            ) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set added = [] -%}
    {%- for column in differences.rows -%}
        {%- for view in (column['views'] or '').split() -%}
            {%- set node = our_views[view] -%}
            {%- set present = load_cached_relation(
                api.Relation.create(node.database, node.schema, node.alias, type='view')
            ) -%}
            {%- if present is not none -%}
                {%- do refuse_to_drop_views_of_others(present) -%}
                {%- do adapter.drop_relation(present) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- if column['held'] is none -%}
            {%- do added.append(column['name']) -%}
            {%- set change = "add column " ~ column['name'] ~ " " ~ column['wanted'] -%}
        {%- elif column['wanted'] is none -%}
            {%- set change = "drop column " ~ column['name'] -%}
        {%- else -%}
            {%- set change = "alter column " ~ column['name'] ~ " type " ~ column['wanted']
                ~ " using " ~ column['name'] ~ "::" ~ column['wanted'] -%}
        {%- endif -%}
        {%- do run_query("alter table " ~ relation ~ " " ~ change) -%}
    {%- endfor -%}
    {{ return(added) }}
{% endmacro %}


{#- A column that a table with rows gained, or that may be null no more, is `not null` once it is filled. -#}
{% macro mart_forbid_nulls(relation) %}
    {%- set nullable = run_query(
        "
        select attname
        from pg_attribute
        where
            attrelid = '" ~ relation ~ "'::regclass
            and attnum > 0
            and not attisdropped
            and not attnotnull
        "
    ).columns[0].values() -%}
    {%- for name in nullable if name in model.columns -%}
        {%- if 'not_null' in model.columns[name].constraints | map(attribute='type') -%}
            {%- do run_query(
                "alter table " ~ relation ~ " alter column " ~ name ~ " set not null"
            ) -%}
        {%- endif -%}
    {%- endfor -%}
{% endmacro %}


{#- The columns of the contract's primary key. -#}
{% macro mart_primary_key() %}
    {%- set key = [] -%}
    {%- for constraint in model.constraints if constraint.type == 'primary_key' -%}
        {%- do key.extend(constraint.columns) -%}
    {%- endfor -%}
    {%- for name, column in model.columns.items() -%}
        {%- if 'primary_key' in column.constraints | map(attribute='type') -%}
            {%- do key.append(name) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(key) }}
{% endmacro %}


{#-
    Drop what an older version held to be unique and the contract does not: another primary key, and
    unique indexes of dbt's (their names are hashes). Else rows that the contract allows are refused.
    Returns whether the primary key went.
-#}
{% macro mart_drop_other_keys(relation) %}
    {%- set wanted = [] -%}
    {%- for index in config.get('indexes', []) if index.get('unique') -%}
        {%- do wanted.append(index.columns | join(',')) -%}
    {%- endfor -%}
    {%- set dropped = [] -%}
    {%- for held in run_query(
        "
        select
            indexrelid::regclass::text as index_name,
            conname,
            (
                select string_agg(attname, ',' order by ordinality)
                from unnest(indkey) with ordinality as key (attnum, ordinality)
                inner join pg_attribute
                    on attrelid = indrelid and pg_attribute.attnum = key.attnum
            ) as columns
        from pg_index
        inner join pg_class on pg_class.oid = indexrelid
        left join pg_constraint on conindid = indexrelid and contype = 'p'
        where
            indrelid = '" ~ relation ~ "'::regclass
            and indisunique
            and (indisprimary or relname ~ '^[0-9a-f]{32}$')
        "
    ).rows -%}
        {%- if held['conname'] is not none -%}
            {%- if held['columns'] != mart_primary_key() | join(',') -%}
                {%- set readers = run_query(
                    "select distinct ev_class::regclass::text from pg_depend "
                    ~ "inner join pg_rewrite on pg_rewrite.oid = objid "
                    ~ "inner join pg_constraint on pg_constraint.oid = refobjid "
                    ~ "where classid = 'pg_rewrite'::regclass "
                    ~ "and refclassid = 'pg_constraint'::regclass and conname = '" ~ held['conname']
                    ~ "' and conrelid = '" ~ relation ~ "'::regclass"
                ).columns[0].values() -%}
                {%- if readers -%}
                    {%- do exceptions.raise_compiler_error(
                        "The key of " ~ relation ~ " changes, and views group by the old one: "
                        ~ readers | join(', ') ~ ". Drop them, build, and create them again."
                    ) -%}
                {%- endif -%}
                {%- do run_query(
                    "alter table " ~ relation ~ " drop constraint " ~ adapter.quote(held['conname'])
                ) -%}
                {%- do dropped.append(held['conname']) -%}
            {%- endif -%}
        {%- elif held['columns'] not in wanted -%}
            {%- do run_query("drop index " ~ held['index_name']) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(dropped | length > 0) }}
{% endmacro %}


{#- dbt makes indexes only with a new relation; here, those that are configured but not there. -#}
{% macro mart_create_missing_indexes(relation) %}
    {%- set present = [] -%}
    {%- for index in run_query(
        "
        select
            indisunique as is_unique,
            (
                select string_agg(attname, ',' order by ordinality)
                from unnest(indkey) with ordinality as key (attnum, ordinality)
                inner join pg_attribute
                    on attrelid = indrelid and pg_attribute.attnum = key.attnum
            ) as columns
        from pg_index
        where indrelid = '" ~ relation ~ "'::regclass
        "
    ).rows -%}
        {%- do present.append((index['columns'], index['is_unique'])) -%}
    {%- endfor -%}
    {%- for index in config.get('indexes', []) -%}
        {%- if (index.columns | join(','), index.get('unique', false)) not in present -%}
            {%- do run_query(get_create_index_sql(relation, index)) -%}
        {%- endif -%}
    {%- endfor -%}
{% endmacro %}


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
