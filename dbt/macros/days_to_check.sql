{#-
    The account-days that tests of `ad_spend` look at: all that the latest build computed, and the
    newest ones by the var `reconcile_days`, from wherever they are known. So the cost does not grow
    with the history, and a full refresh checks everything.

    A test that calls this reads `stg_meta__account_insights`, which no other model does: dbt skips
    what lies downstream of all that a failed test reads, so that an account that does not add up
    stops the marts of no other brand.
-#}
{% macro days_to_check() %}
    select
        known.account_id,
        known.date
    from (
        select account_id, date from {{ ref('int_ad_spend_days') }}
        union
        select account_id, date from {{ ref('stg_meta__account_insights') }}
        union
        select account_id, date from {{ ref('stg_tributary__loads') }}
        where report = 'ad_insights'
    ) as known
    where
        known.date > (
            select max(last_date) from {{ ref('int_insight_accounts') }}
        ) - {{ var('reconcile_days') }}
    union
    select account_id, date from {{ ref('stg_tributary__loads') }} where report = 'ad_insights' and loaded_at > now() - interval '2 days'
{% endmacro %}


{#-
    Rows of these account-days, and few others. By arrays: so they are found through an index that
    begins with (account_id, date), whatever the planner thinks of their number.
-#}
{% macro of_days(days) -%}
    account_id = any(array(select {{ days }}.account_id from {{ days }}))
    and date = any(array(select {{ days }}.date from {{ days }}))
{%- endmacro %}


{#- Which load of each account-day the latest build computed `ad_spend` from. -#}
{% macro loads_seen() %}
    select
        account_id,
        date,
        loaded_at
    from {{ ref('stg_tributary__loads') }} where false
{% endmacro %}


{#-
    Whether a day can be judged: not while the build has not seen its newest load, which committed
    while the build ran. The minute is for loads that were about to commit.

    Args:
        load: when the day was loaded last; null when no load accounts for it.
        held: the load that the mart's rows of the day are of; null when it has none.
        seen: the load that the latest build computed the day from; null when it did not compute it.
            With it, a day that the build has seen and the mart lacks is judged, however new it is.
-#}
{% macro is_taken_over(load, held, seen) -%}
    (
        {{ load }} is null
        or coalesce({{ load }} in ({{ held }}, {{ seen }}), false)
        or {{ load }} < '{{ run_started_at }}'::timestamptz - interval '1 minute'
    )
{%- endmacro %}
