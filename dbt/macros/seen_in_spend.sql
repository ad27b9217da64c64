{#-
    What `ad_spend` has of each campaign, ad set or ad that occurs in it: the newest row, and the
    first and last date. Steps through the index on (key, date) from one member to the next, so
    that the cost grows with the members, not with the history.
-#}
{% macro seen_in_spend(key) %}
with recursive

-- Not materialised: each look-up goes through the index.
spend as not materialized (
    select * from {{ ref('ad_spend') }}
),

keys as (
    (
        select spend.{{ key }}
        from spend
        order by spend.{{ key }}
        limit 1
    )
    union all
    select successor.{{ key }}
    from keys
    cross join lateral (
        select spend.{{ key }}
        from spend
        where spend.{{ key }} > keys.{{ key }}
        order by spend.{{ key }}
        limit 1
    ) as successor
),

seen as (
    select
        newest.*,
        oldest.date as first_date
    from keys
    cross join lateral (
        select
            spend.fb_campaign_id,
            spend.fb_adset_id,
            spend.fb_ad_id,
            spend.account_id,
            spend.campaign_name,
            spend.adset_name,
            spend.ad_name,
            spend.date as last_date
        from spend
        where spend.{{ key }} = keys.{{ key }}
        order by spend.date desc, spend.id asc
        limit 1
    ) as newest
    cross join lateral (
        select spend.date
        from spend
        where spend.{{ key }} = keys.{{ key }}
        order by spend.date
        limit 1
    ) as oldest
)
{% endmacro %}


{#- Midnight UTC of a date: the same moment whatever the session's time zone. -#}
{% macro midnight(date) -%}
    ({{ date }}::timestamp at time zone 'UTC')
{%- endmacro %}
