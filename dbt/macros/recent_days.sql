{#- A condition: the newest days by the var `reconcile_days`: what tests of views look at, so that their cost does not grow. -#}
{% macro recent_days() -%}
    date > (
        select coalesce(max(last_date), current_date) from {{ ref('int_insight_accounts') }}
    ) - {{ var('reconcile_days') }}
{%- endmacro %}
