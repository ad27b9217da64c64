{#- Of each object the description that was extracted last: an id may be known by several accounts. -#}
{% macro newest_description(relation, key) %}
    select distinct on ({{ key }}) *
    from {{ relation }}
    order by {{ key }} asc, extracted_at desc
{% endmacro %}
