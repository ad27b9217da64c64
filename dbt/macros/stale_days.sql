{#-
    A condition: the row is of an account-day that a build of `ad_spend` computes. Those are the ones
    that it holds of another load, rate, currency or brand than `int_ad_spend_days` names, that it
    lacks, or that have lost all their rows; and those without a load: nothing would show that their
    rows changed. A day that neither the ledger nor the account's totals name is left to a recompute.
-#}
{% macro is_of_stale_days() -%}
    {{ of_days(stale_keys(
        ref('int_ad_spend_days'), 'date', 'wanted.has_delivery', 'wanted.loaded_at is null',
        [
            'brand_slug', 'currency', 'reporting_currency', 'time_zone', 'load_status',
            'exchange_rate', 'exchange_rate_date', 'restatement_count', 'last_restated_at',
            'loaded_at',
        ]
    )) }}
{%- endmacro %}


{#- A condition: the row is of an account-day that `ad_restatements` holds of other restatements. -#}
{% macro is_of_restated_days() -%}
    {{ of_days(stale_keys(
        ref('int_ad_spend_days'), 'date', 'wanted.restatement_count > 0', 'false',
        ['brand_slug', 'time_zone', 'restatement_count', 'last_restated_at']
    )) }}
{%- endmacro %}


{#- A condition: the row is of a day whose month `int_ads_seen_by_month` holds of other loads. -#}
{% macro is_of_stale_months(date='date') -%}
    {%- set stale -%}
    select
        stale.account_id,
        days.moment::date as date
    from ({{ stale_keys(
        ref('int_ad_months'), 'month', 'wanted.has_delivery', 'wanted.loads_version is null',
        ['loads_version']
    ) }}) as stale
    cross join lateral generate_series(
        stale.month::timestamp,
        stale.month + interval '1 month' - interval '1 day',
        interval '1 day'
    ) as days (moment)
    {%- endset -%}
    {{ of_days(stale, date) }}
{%- endmacro %}


{#-
    Keys (account and date, or month) of which the present model holds other values than `wanted`
    has, found by one look-up of each key in the model's index. Differing counts, not being newer: a
    load that committed late is not missed.

    Args:
        has_rows: a condition: the model is to have rows of the key.
        is_unknown: a condition: the key is computed even if nothing differs.
        compared: the columns of both that decide.
-#}
{% macro stale_keys(wanted, date, has_rows, is_unknown, compared) %}
    select
        wanted.account_id,
        wanted.{{ date }}
    from {{ wanted }} as wanted
    left join lateral (
        select *
        from {{ this }} as model
        where model.account_id = wanted.account_id and model.{{ date }} = wanted.{{ date }}
        limit 1
    ) as held on true
    where
        ({{ has_rows }} or held.account_id is not null)
        and (
            {{ is_unknown }}
            or ({{ has_rows }}, {{ columns_of(compared, 'wanted') }})
            is distinct from (held.account_id is not null, {{ columns_of(compared, 'held') }})
        )
{% endmacro %}


{#-
    A condition: the row is of these accounts and these days, which a query finds. Of a few days more
    than asked for, and of the same ones in raw as in a mart. By arrays: so the rows are found
    through an index that begins with the account and the day, whatever the planner thinks of their
    number. 58,000 of 730,000 rows of raw: 0.07 s, and 0.5 s by `(account_id, date) in (…)`.
-#}
{% macro of_days(days, date='date') -%}
    account_id = any(array(select days.account_id from ({{ days }}) as days))
    and {{ date }} = any(array(select days.date from ({{ days }}) as days))
{%- endmacro %}
