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

ads as (
    select * from {{ ref('int_ads') }}
),

-- The unknown member is a row of nulls.
members as (
    select * from ads
    union all
    select ads.*
    from (values (1)) as one  -- noqa: ST11
    left join ads on false
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
