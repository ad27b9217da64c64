{{
    config(
        indexes=[
            {'columns': ['id'], 'unique': true},
            {'columns': ['fb_ad_id'], 'unique': true},
            {'columns': ['adset_id']},
            {'columns': ['campaign_id']},
            {'columns': ['account_id']},
        ],
    )
}}

with

members as (
    {{ with_unknown_member(ref('int_ads')) }}
),

keyed as (
    select
        {{ meta_key('ad', 'fb_ad_id') }} as id,
        {{ meta_key('adset', 'fb_adset_id') }} as adset_id,
        {{ meta_key('campaign', 'fb_campaign_id') }} as campaign_id,
        fb_ad_id,
        fb_adset_id,
        fb_campaign_id,
        account_id,
        brand_slug,
        case when fb_ad_id is null then '(unknown)' else ad_name end as name,
        status,
        effective_status,
        creative_id,
        creative_summary,
        coalesce(is_inferred, true) as is_inferred,
        created_at,
        updated_at
    from members
)

select * from keyed
