{#- By what names are looked up: brand, campaign, ad set and ad, each or not, whatever their case. -#}
{% macro name_key(brand, campaign, adset, ad) -%}
    {{ brand }} || chr(31) || lower(
        coalesce({{ campaign or 'null' }}, '') || chr(31)
        || coalesce({{ adset or 'null' }}, '') || chr(31)
        || coalesce({{ ad or 'null' }}, '')
    )
{%- endmacro %}
