{{
    config(
        materialized='incremental',
        unique_key='id',
        incremental_predicates=["{{ is_of_stale_months('month') }}"],
        indexes=[
            {'columns': ['id'], 'unique': true},
            {'columns': ['account_id', 'month']},
        ],
    )
}}

with

months as (
    select * from {{ ref('int_ad_months') }}
),

insights as (
    select * from {{ ref('stg_meta__ad_insights') }}
    {%- if is_incremental() and not var('recompute') %}
    where {{ is_of_stale_months() }}
    {%- endif %}
),

seen as (
    select
        account_id,
        date_trunc('month', date)::date as month,
        fb_ad_id,
        fb_adset_id,
        fb_campaign_id,
        (array_agg(ad_name order by date desc))[1] as ad_name,
        (array_agg(adset_name order by date desc))[1] as adset_name,
        (array_agg(campaign_name order by date desc))[1] as campaign_name,
        min(date) as first_date,
        max(date) as last_date
    from insights
    group by account_id, date_trunc('month', date), fb_ad_id, fb_adset_id, fb_campaign_id
),

keyed as (
    select
        md5(
            concat_ws(
                '|',
                seen.account_id,
                seen.month,
                seen.fb_ad_id,
                coalesce(seen.fb_adset_id, ''),
                coalesce(seen.fb_campaign_id, '')
            )
        )::uuid as id,
        seen.*,
        months.loads_version
    from seen
    left join months
        on
            seen.account_id = months.account_id
            and seen.month = months.month
)

select * from keyed
