{#- Something that a touch may name, as a number: an id, names (see `name_key`), a gclid. -#}
{% macro named_hash(name) -%}
    hashtextextended({{ name }}, 0)
{%- endmacro %}


{#- All that a URL may name: ids, and names in each way in which they are looked up. -#}
{% macro names_of_url(url) -%}
    array[
        {{ url }}.ad_id,
        {{ url }}.utm_campaign,
        {{ url }}.utm_term,
        {{ url }}.utm_content
        {%- for term in [url ~ '.utm_term', none] %}
        {%- for content in [url ~ '.utm_content', none] %},
        {{ name_key(url ~ '.brand_slug', url ~ '.utm_campaign', term, content) }}
        {%- endfor %}
        {%- endfor %}
    ]
{%- endmacro %}


{#- The table of what was known when `ad_attribution_credits` was computed last. -#}
{% macro evidence_kept() -%}
    intermediate.int_evidence__kept
{%- endmacro %}


{#- Written in the transaction that writes the credits: what is known by then was heeded. -#}
{% macro keep_evidence() %}
    truncate {{ evidence_kept() }};
    insert into {{ evidence_kept() }} (named_hash, known_hash)
    select
        named_hash,
        known_hash
    from {{ ref('int_evidence') }}
{% endmacro %}
