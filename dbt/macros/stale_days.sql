{#-
    A condition: the row is of an account-day that a build of `ad_spend` computes. That are those
    that it holds of another load, rate, currency or brand than `int_ad_spend_days` names, those
    that it lacks, and those that vanished.
-#}
{% macro is_of_stale_days() -%}
    {{ of_days(stale_keys(ref('int_ad_spend_days'), 'date', 'loaded_at', [
        'brand_slug', 'currency', 'reporting_currency', 'time_zone', 'load_status', 'exchange_rate',
        'exchange_rate_date', 'restatement_count', 'last_restated_at',
    ])) }}
{%- endmacro %}


{#- A condition: the row is of a day whose month `int_ads_seen_by_month` holds of other loads. -#}
{% macro is_of_stale_months(date='date') -%}
    {%- set stale -%}
    select
        stale.account_id,
        days.moment::date as date
    from ({{ stale_keys(ref('int_ad_months'), 'month', 'loads_version') }}) as stale
    cross join lateral generate_series(
        stale.month::timestamp,
        stale.month + interval '1 month' - interval '1 day',
        interval '1 day'
    ) as days (moment)
    {%- endset -%}
    {{ of_days(stale, date) }}
{%- endmacro %}


{#- A condition: the row is of an account-day with a restatement that `ad_restatements` lacks. -#}
{% macro is_of_days_restated_since() -%}
    {%- set restated -%}
    select
        restatements.account_id,
        restatements.date
    from {{ ref('stg_tributary__restatements') }} as restatements
    left join {{ this }} as held
        on held.id = {{ restatement_key('restatements.restatement_id') }}
    where restatements.report = 'ad_insights' and held.id is null
    {%- endset -%}
    {{ of_days(restated) }}
{%- endmacro %}


{#-
    Keys (account and date, or month) of which the present model holds other values than `wanted`
    has, found by one look-up of each key in the model's index. Differing counts, not being newer: a
    load that committed late is not missed. A key without a version is always stale: no load would
    show that its rows changed.
-#}
{% macro stale_keys(wanted, date, version, compared=[]) %}
    {%- set compared = [version] + compared -%}
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
        (wanted.has_delivery or held.account_id is not null)
        and (
            wanted.{{ version }} is null
            or (wanted.has_delivery, {{ columns_of(compared, 'wanted') }})
            is distinct from (held.account_id is not null, {{ columns_of(compared, 'held') }})
        )
{% endmacro %}


{#-
    A condition: the row is of these accounts and these days, which a query finds. Of a few days more
    than asked for, and of the same ones in raw as in a mart. By arrays: so the rows are found
    through an index that begins with the account and the day, whatever the planner thinks of their
    number.
-#}
{% macro of_days(days, date='date') -%}
    account_id = any(array(select days.account_id from ({{ days }}) as days))
    and {{ date }} = any(array(select days.date from ({{ days }}) as days))
{%- endmacro %}
