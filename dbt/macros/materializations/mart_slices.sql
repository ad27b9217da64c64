{#- The table that lists the slices that a mart's latest build computed: intermediate.<mart>__slices. -#}
{% macro mart_slices(relation) -%}
    {{ relation.database }}.intermediate.{{ relation.identifier }}__slices
{%- endmacro %}


{#- Where a mart with `slices_kept` remembers what its rows were computed from, and when. -#}
{% macro mart_kept(relation) -%}
    {{ relation.database }}.intermediate.{{ relation.identifier }}__kept
{%- endmacro %}


{#- What `slices_narrowed_by` says of the slices that this build found stale, until it commits. -#}
{% macro mart_exact(relation) -%}
    pg_temp.{{ relation.identifier }}__exact
{%- endmacro %}


{#- False only for a mart whose memory lacks something (an older version made it): then all are computed. -#}
{% macro mart_keeps_slices(relation) %}
    {%- if not config.get('slices_kept') -%}{{ return(true) }}{%- endif -%}
    {{ return(mart_kept_has(
        relation,
        config.get('slice_by') + ['exact_hash' if config.get('slices_narrowed_by') else 'computed_at'],
    )) }}
{% endmacro %}


{% macro mart_kept_has(relation, names) %}
    {{ return(run_query(
        "
        select count(*) = " ~ names | length ~ "
        from pg_attribute
        where
            attrelid = to_regclass('" ~ mart_kept(relation) ~ "')
            and not attisdropped
            and attname in " ~ sql_list(names)
    ).rows[0][0]) }}
{% endmacro %}


{#- In the transaction that writes the rows. -#}
{% macro mart_keep_slices(relation, everything) %}
    {%- set kept = mart_kept(relation) -%}
    {%- set slices = mart_slices(relation) -%}
    {%- set by = mart_columns(config.get('slice_by')) -%}
    {%- set narrowed = config.get('slices_narrowed_by') -%}
    {%- if everything %}
        {%- if not mart_kept_has(relation, config.get('slice_by')) %}
            {# By another key, of an older version. What reads it is made anew by this very build. #}
            {% do run_query("drop table if exists " ~ kept ~ " cascade") %}
        {%- endif %}
        {% do run_query(
            "create table if not exists " ~ kept ~ " as select * from " ~ slices ~ " where false; "
            ~ "truncate " ~ kept ~ "; create unique index if not exists "
            ~ relation.identifier ~ "__kept_key on " ~ kept ~ " (" ~ by ~ "); "
            ~ "alter table " ~ kept ~ " add column if not exists computed_at timestamptz"
            ~ (", add column if not exists exact_hash bigint" if narrowed)
        ) %}
    {%- else %}
        {% do run_query(
            "delete from " ~ kept ~ " where (" ~ by ~ ") in (select " ~ by ~ " from " ~ slices ~ ")"
        ) %}
    {%- endif %}
    {% do run_query(
        "insert into " ~ kept ~ " select slices.*, now()" ~ (", exact.exact_hash" if narrowed)
        ~ " from " ~ slices ~ " as slices"
        ~ (" left join " ~ mart_exact(relation) ~ " as exact using (" ~ by ~ ")" if narrowed)
        ~ " where slices.is_settled is not null; analyze " ~ kept
    ) %}
{% endmacro %}


{#-
    Whether the present model is to compute its stale slices only. Reads as false where there is
    nothing yet to keep; unit tests override it.
-#}
{% macro is_sliced() %}
    {%- if not execute -%}{{ return(false) }}{%- endif -%}
    {{ return(
        load_cached_relation(this) is not none
        and config.get('slices') is not none
        and not should_full_refresh()
    ) }}
{% endmacro %}


{#- Whether the present mart has rows of an earlier build, which it may read. -#}
{% macro is_held() %}
    {%- if not execute -%}{{ return(false) }}{%- endif -%}
    {{ return(load_cached_relation(this) is not none) }}
{% endmacro %}


{#- A condition: the row is of a slice that is to be computed. -#}
{% macro of_slices(columns) -%}
    {%- if is_sliced() -%}
    ({{ mart_columns(columns) }}) in (
        select {{ mart_columns(columns, 'slices') }}
        from {{ mart_slices(this) }} as slices
    )
    {%- else -%}
    true
    {%- endif -%}
{%- endmacro %}


{#-
    Write down which slices are stale: those whose attributes in the `slices` model differ from what
    the mart's rows carry in columns of the same names (a new load, a late exchange rate, another
    reporting currency), those that the mart lacks, those that it holds and that are gone, and those
    whose `is_settled` is false: nothing would tell that they changed.

    Differing counts, not being newer: a load that committed late is not missed. The slices are read
    before the rows are: what changes in between is stale again at the next build.

    The held slices are found by stepping through the mart's index, one row of each; with
    `slices_kept` they stand in a table of their own.

    Args:
        held: the mart as it is, or none: all slices are stale.
-#}
{% macro mart_stale_slices(relation, held) %}
    {%- set by = config.get('slice_by') -%}
    {%- set slices = ref(config.get('slices')) -%}
    {%- set attributes = [] -%}
    {%- for column in adapter.get_columns_in_relation(load_relation(slices))
        if column.name not in by
        and (column.name in model.columns or (config.get('slices_kept') and column.name != 'is_settled')) -%}
        {%- do attributes.append(column.name) -%}
    {%- endfor -%}
    {%- set stepped -%}
        select {{ mart_columns(by + attributes, 'step') }}
        from {{ held }} as step
    {%- endset -%}
    {% do run_query("drop table if exists " ~ mart_slices(relation)) %}
    {% call statement('stale_slices') -%}
        create unlogged table {{ mart_slices(relation) }} as
        {% if held is none %}
        select * from {{ slices }}
        {% else %}
        with recursive wanted as (
            select * from {{ slices }}
        ),
        {% if config.get('slices_kept') -%}
        held as (
            select * from {{ mart_kept(relation) }}
        )
        {%- else -%}
        held as (
            ({{ stepped }} order by {{ mart_columns(by, 'step') }} limit 1)
            union all
            select successor.*
            from held
            cross join lateral (
                {{ stepped }}
                where ({{ mart_columns(by, 'step') }}) > ({{ mart_columns(by, 'held') }})
                order by {{ mart_columns(by, 'step') }}
                limit 1
            ) as successor
        )
        {%- endif %}
        select
            {{ mart_columns(by) }},
            {{ mart_columns(attributes, 'wanted') }},
            wanted.is_settled
        from wanted
        full join held using ({{ mart_columns(by) }})
        where
            wanted.is_settled is not true
            or ({{ mart_columns(attributes, 'wanted') }})
            is distinct from ({{ mart_columns(attributes, 'held') }})
        {% endif %}
    {%- endcall %}
    {% do run_query("analyze " ~ mart_slices(relation)) %}
    {% do mart_narrow_slices(relation, held, attributes) if config.get('slices_narrowed_by') %}
{% endmacro %}


{#-
    Take the slices of which the exact hash is the kept one out of those that are to be computed, and
    keep that they were looked at. What is equal is asked where it cannot mislead the planner.
-#}
{% macro mart_narrow_slices(relation, held, attributes) %}
    {%- set by = config.get('slice_by') -%}
    {%- set slices = mart_slices(relation) -%}
    {%- set exact = mart_exact(relation) -%}
    {%- set kept = mart_kept(relation) -%}
    {% do run_query(
        "create temp table " ~ exact ~ " on commit drop as select exact.*, "
        ~ ("kept.exact_hash = exact.exact_hash" if held is not none else "false") ~ " as is_kept"
        ~ " from (" ~ context[config.get('slices_narrowed_by')]() ~ ") as exact"
        ~ (" left join " ~ kept ~ " as kept using (" ~ mart_columns(by) ~ ")" if held is not none)
    ) %}
    {% if held is not none %}
        {% do run_query(
            "
            with same as (
                delete from " ~ slices ~ " as slices
                using " ~ exact ~ " as exact
                where
                    slices.is_settled
                    and exact.is_kept
                    and (" ~ mart_columns(by, 'exact') ~ ") = (" ~ mart_columns(by, 'slices') ~ ")
                returning slices.*
            )
            update " ~ kept ~ " as kept
            set (" ~ mart_columns(attributes) ~ ") = row(" ~ mart_columns(attributes, 'same') ~ ")
            from same
            where (" ~ mart_columns(by, 'kept') ~ ") = (" ~ mart_columns(by, 'same') ~ ");
            analyze " ~ slices
        ) %}
    {% endif %}
{% endmacro %}
