{#- The uuid of an object of Meta's hierarchy: the same after every rebuild, and without a look-up. -#}
{% macro meta_key(kind, fb_id) -%}
    md5('meta|{{ kind }}|' || coalesce({{ fb_id }}, 'unknown'))::uuid
{%- endmacro %}


{#- The uuid of the member that stands for "no object is known". -#}
{% macro meta_unknown_key(kind) -%}
    md5('meta|{{ kind }}|unknown')::uuid
{%- endmacro %}


{% macro restatement_key(restatement_id) -%}
    md5('meta|restatement|' || {{ restatement_id }})::uuid
{%- endmacro %}
