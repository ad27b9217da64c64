{#- The uuid of an object of Meta's hierarchy: the same after every rebuild, and without a look-up. -#}
{% macro meta_key(kind, fb_id) -%}
    md5('meta|{{ kind }}|' || coalesce({{ fb_id }}, 'unknown'))::uuid
{%- endmacro %}


{#- The uuid of the member that stands for "no object is known". -#}
{% macro meta_unknown_key(kind) -%}
    md5('meta|{{ kind }}|unknown')::uuid
{%- endmacro %}


{#- A dimension's rows, and the unknown member: a row of nulls. -#}
{% macro with_unknown_member(relation) %}
    select * from {{ relation }}
    union all
    select known.*
    from (values (1)) as one
    left join (select * from {{ relation }}) as known on false
{% endmacro %}


{% macro restatement_key(restatement_id) -%}
    md5('meta|restatement|' || {{ restatement_id }})::uuid
{%- endmacro %}
