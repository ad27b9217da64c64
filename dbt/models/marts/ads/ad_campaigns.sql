{{
    config(
        indexes=[
            {'columns': ['id'], 'unique': true},
            {'columns': ['fb_campaign_id'], 'unique': true},
            {'columns': ['account_id']},
        ],
    )
}}

with

members as (
    {{ with_unknown_member(ref('int_campaigns')) }}
),

keyed as (
    select
        {{ meta_key('campaign', 'fb_campaign_id') }} as id,
        fb_campaign_id,
        account_id,
        brand_slug,
        case when fb_campaign_id is null then '(unknown)' else campaign_name end as name,
        objective,
        status,
        effective_status,
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
