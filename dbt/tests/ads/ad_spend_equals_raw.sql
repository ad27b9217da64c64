{#- Account-days of which the mart says something else than raw, to the last digit. -#}
{%- set figures = [
    'spend', 'impressions', 'clicks', 'link_clicks', 'platform_purchases', 'platform_purchase_value'
] -%}

with

days as (
    select * from {{ ref('int_ad_days_to_check') }}
),

ad_spend as (
    select * from {{ ref('ad_spend') }}
    where {{ of_days('select * from days') }}
),

insights as (
    select * from {{ ref('stg_meta__ad_insights') }}
    where {{ of_days('select * from days') }}
),

{% for name, rows in {'in_mart': 'ad_spend', 'in_raw': 'insights'}.items() -%}
{{ name }} as (
    select
        account_id,
        date,
        {%- for figure in figures %}
        sum({{ figure }}) as {{ figure }},
        {%- endfor %}
        count(*) as row_count
    from {{ rows }}
    group by account_id, date
),

{% endfor -%}
compared as (
    select
        days.account_id,
        days.date,
        in_mart.row_count as mart_rows,
        in_raw.row_count as raw_rows,
        in_mart.spend as mart_spend,
        in_raw.spend as raw_spend,
        in_mart.impressions as mart_impressions,
        in_raw.impressions as raw_impressions
    from days
    left join in_mart on days.account_id = in_mart.account_id and days.date = in_mart.date
    left join in_raw on days.account_id = in_raw.account_id and days.date = in_raw.date
    where
        (in_mart.row_count, {{ columns_of(figures, 'in_mart') }})
        is distinct from (in_raw.row_count, {{ columns_of(figures, 'in_raw') }})
)

select * from compared
