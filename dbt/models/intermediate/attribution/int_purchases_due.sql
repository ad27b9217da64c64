{#-
    The purchases whose attribution this build computes. An hourly build leaves out those that only
    the nightly one (`recompute`) computes: older than the longest look-back and
    `attribution_late_days`, and with a row that did not change for a day, so that a nightly build
    has followed the change. Purchases that are gone are here, too: their rows in the marts go. All
    are due where a mart is missing: it would begin with the young ones alone.
-#}
{%- set days = longest_lookback_days() | int + attribution_setting('attribution_late_days') | int %}

with

purchases as (
    select * from {{ ref('int_purchases') }}
),

due as (
    select * from purchases
    {%- if not var('recompute') and marts_of_purchases_exist() %}
    where
        transacted_at >= now() - interval '{{ days }} days'
        or changed_at >= now() - interval '1 day'
    {%- endif %}
)

select * from due
