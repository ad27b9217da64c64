{#- The table of what was known of each URL when `ad_attribution_credits` was computed last. -#}
{% macro evidence_kept() -%}
    intermediate.int_url_evidence__kept
{%- endmacro %}


{#- Written in the transaction that writes the credits: what is known by then was heeded. -#}
{% macro keep_evidence() %}
    truncate {{ evidence_kept() }};
    insert into {{ evidence_kept() }} (url_hash, known_hash)
    select
        url_hash,
        known_hash
    from {{ ref('int_url_evidence') }}
{% endmacro %}
