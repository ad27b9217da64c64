{#- What a touch refers to an ad by, as a number: an id, names (see `name_key`) or a gclid. -#}
{% macro reference_hash(name) -%}
    hashtextextended({{ name }}, 0)
{%- endmacro %}


{#- All references in a URL: ids, and names in each way in which they are looked up. -#}
{% macro references_of_url(url) -%}
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


{#- `int_reference_hashes` as it was when `ad_attribution_credits` was last computed. -#}
{% macro stored_reference_hashes() -%}
    intermediate.int_reference_hashes__stored
{%- endmacro %}


{#- In the transaction that writes the credits: they were computed from these. -#}
{% macro store_reference_hashes() %}
    truncate {{ stored_reference_hashes() }};
    insert into {{ stored_reference_hashes() }} (reference_hash, target_hash)
    select
        reference_hash,
        target_hash
    from {{ ref('int_reference_hashes') }}
{% endmacro %}
