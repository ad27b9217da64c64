{#- The table that lists the slices that a mart's latest build computed: intermediate.<mart>__slices. -#}
{% macro mart_slices(relation) -%}
    {{ relation.database }}.intermediate.{{ relation.identifier }}__slices
{%- endmacro %}


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


{#-
    Write down which slices are stale: those whose attributes in the `slices` model differ from what
    the mart's rows carry in columns of the same names (a new load, a late exchange rate, another
    reporting currency), those that the mart lacks, those that it holds and that are gone, and those
    whose `is_settled` is false: nothing would tell that they changed.

    Differing counts, not being newer: a load that committed late is not missed. The slices are read
    before the rows are: what changes in between is stale again at the next build.

    The held slices are found by stepping through the mart's index, one row of each.

    Args:
        held: the mart as it is, or none: all slices are stale.
-#}
{% macro mart_stale_slices(relation, held) %}
    {%- set by = config.get('slice_by') -%}
    {%- set slices = ref(config.get('slices')) -%}
    {%- set attributes = [] -%}
    {%- for column in adapter.get_columns_in_relation(load_relation(slices))
        if column.name in model.columns and column.name not in by -%}
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
{% endmacro %}
