{#-
    The account-days that a build of `ad_spend` computes: those that it holds of another load, rate,
    currency or brand than `int_ad_spend_days` names, those that it lacks, and those that vanished.
-#}
{% macro stale_days() -%}
    {{ stale_keys(ref('int_ad_spend_days'), 'date', 'loaded_at', [
        'brand_slug', 'currency', 'reporting_currency', 'time_zone', 'load_status', 'exchange_rate',
        'exchange_rate_date', 'restatement_count', 'last_restated_at',
    ]) }}
{%- endmacro %}


{#- The account-months that a build of `int_ads_seen_by_month` computes. -#}
{% macro stale_months() -%}
    {{ stale_keys(ref('int_ad_months'), 'month', 'loads_version') }}
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


{#- The account-days with a restatement that `ad_restatements` lacks. -#}
{% macro days_restated_since() %}
    select
        restatements.account_id,
        restatements.date
    from {{ ref('stg_tributary__restatements') }} as restatements
    left join {{ this }} as held
        on held.id = {{ restatement_key('restatements.restatement_id') }}
    where restatements.report = 'ad_insights' and held.id is null
{% endmacro %}


{#-
    Rows of these accounts and these days: a few days more than asked for, and the same ones in raw
    as in a mart. By arrays: so they are found through an index that begins with the account and the
    day, whatever the planner thinks of their number.
-#}
{% macro of_days(days, date='date') -%}
    account_id = any(array(select days.account_id from {{ days }} as days))
    and {{ date }} = any(array(select days.{{ date }} from {{ days }} as days))
{%- endmacro %}
