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

members as (
    {{ with_unknown_member(ref('int_adsets')) }}
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
