{#-
    An incremental strategy, in place of dbt's `delete+insert` and `merge`: rows that stay the same
    are not written, and rows that vanished are deleted. Set `unique_key`. With
    `incremental_predicates`, only the held rows that these select are compared: they must select
    the rows of whatever the model computes. With `--vars 'recompute: true'` all rows are compared.
    A row keeps its first value of the columns in `merge_exclude_columns`. A key that the model has
    twice is an error. The lock makes a second build of the same model wait; readers go on.
    Predicates are text with Jinja in it, rendered when the model runs: a `ref` in a config would be
    resolved too early. A build is one transaction: readers see the old rows until it commits.
-#}
{% macro get_incremental_exchange_sql(arg_dict) %}
    {%- set target, fresh = arg_dict['target_relation'], arg_dict['temp_relation'] -%}
    {%- set key = arg_dict['unique_key'] -%}
    {%- set key = [key] if key is string else key -%}
    {%- set names = arg_dict['dest_columns'] | map(attribute='name') | list -%}
    {%- set predicates = ['true'] -%}
    {%- for predicate in arg_dict['incremental_predicates'] or [] if not var('recompute') -%}
        {%- do predicates.append(render(predicate)) -%}
    {%- endfor -%}
    {%- set changes = make_temp_relation(target, '__changes') -%}
    create unique index on {{ fresh }} ({{ columns_of(key) }});
    analyze {{ fresh }};
    lock table {{ target }} in share row exclusive mode;
    create temp table {{ changes }} (held_row, {{ columns_of(names) }}) on commit drop as
    select held.held_row, {{ columns_to_write(names) }}
    from (
        select DBT_INTERNAL_DEST.ctid as held_row, DBT_INTERNAL_DEST.*
        from {{ target }} as DBT_INTERNAL_DEST
        where {{ predicates | join(' and ') }}
    ) as held
    full join {{ fresh }} as fresh
        on {% for name in key %}fresh.{{ name }} = held.{{ name }}{{ ' and ' if not loop.last }}{% endfor %}
    where ({{ columns_to_write(names) }}) is distinct from ({{ columns_of(names, 'held') }});
    analyze {{ changes }};
    delete from {{ target }} as held
    using {{ changes }} as changed
    where held.ctid = changed.held_row and changed.{{ key[0] }} is null;
    update {{ target }} as held
    set ({{ columns_of(names) }}) = row({{ columns_of(names, 'changed') }})
    from {{ changes }} as changed
    where held.ctid = changed.held_row and changed.{{ key[0] }} is not null;
    insert into {{ target }} ({{ columns_of(names) }})
    select {{ columns_of(names) }}
    from {{ changes }}
    where held_row is null
{% endmacro %}


{% macro columns_of(names, alias=none) -%}
    {%- for name in names %}{{ alias ~ '.' if alias }}{{ name }}{{ ', ' if not loop.last }}{% endfor -%}
{%- endmacro %}


{% macro columns_to_write(names) -%}
    {%- for name in names -%}
        {%- if name in (config.get('merge_exclude_columns') or []) -%}
            coalesce(held.{{ name }}, fresh.{{ name }})
        {%- else -%}
            fresh.{{ name }}
        {%- endif -%}
        {{ ', ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}
