with

campaigns as (
    select * from {{ ref('int_campaigns') }}
),

adsets as (
    select * from {{ ref('int_adsets') }}
),

ads as (
    select * from {{ ref('int_ads') }}
),

unioned as (
    select
        'ad' as kind,
        fb_ad_id as fb_id,
        fb_ad_id,
        fb_adset_id,
        fb_campaign_id,
        account_id,
        brand_slug,
        time_zone,
        ad_name as object_name,
        is_inferred,
        case when not is_inferred then created_at end as created_at
    from ads
    union all
    select
        'adset' as kind,
        fb_adset_id as fb_id,
        null as fb_ad_id,
        fb_adset_id,
        fb_campaign_id,
        account_id,
        brand_slug,
        time_zone,
        adset_name as object_name,
        is_inferred,
        case when not is_inferred then created_at end as created_at
    from adsets
    union all
    select
        'campaign' as kind,
        fb_campaign_id as fb_id,
        null as fb_ad_id,
        null as fb_adset_id,
        fb_campaign_id,
        account_id,
        brand_slug,
        time_zone,
        campaign_name as object_name,
        is_inferred,
        case when not is_inferred then created_at end as created_at
    from campaigns
),

best as (
    select distinct on (fb_id)
        kind,
        fb_id,
        {{ meta_key('campaign', 'fb_campaign_id') }} as campaign_id,
        {{ meta_key('adset', 'fb_adset_id') }} as adset_id,
        {{ meta_key('ad', 'fb_ad_id') }} as ad_id,
        fb_ad_id,
        fb_adset_id,
        fb_campaign_id,
        account_id,
        brand_slug,
        time_zone,
        object_name,
        created_at
    from unioned
    order by fb_id, is_inferred, kind
)

select * from best
