{{
    config(
        indexes=[
            {'columns': ['id'], 'unique': true},
            {'columns': ['fb_adset_id'], 'unique': true},
            {'columns': ['campaign_id']},
            {'columns': ['account_id']},
        ],
    )
}}

with

adsets as (
    select * from {{ ref('int_adsets') }}
),

-- The unknown member is a row of nulls.
members as (
    select * from adsets
    union all
    select adsets.*
    from (values (1)) as one  -- noqa: ST11
    left join adsets on false
),

keyed as (
    select
        {{ meta_key('adset', 'fb_adset_id') }} as id,
        {{ meta_key('campaign', 'fb_campaign_id') }} as campaign_id,
        fb_adset_id,
        fb_campaign_id,
        account_id,
        brand_slug,
        case when fb_adset_id is null then '(unknown)' else adset_name end as name,
        status,
        effective_status,
        optimization_goal,
        targeting_summary,
        currency,
        daily_budget,
        lifetime_budget,
        coalesce(is_inferred, true) as is_inferred,
        start_time,
        stop_time,
        created_at,
        updated_at
    from members
)

select * from keyed
