{{ config(materialized='table', post_hook='analyze {{ this }}') }}

with

ads as (
    select distinct on (fb_ad_id) *
    from {{ ref('stg_meta__ads') }}
    order by fb_ad_id asc, extracted_at desc
),

adsets as (
    select distinct on (fb_adset_id) *
    from {{ ref('stg_meta__adsets') }}
    order by fb_adset_id asc, extracted_at desc
),

campaigns as (
    select distinct on (fb_campaign_id) *
    from {{ ref('stg_meta__campaigns') }}
    order by fb_campaign_id asc, extracted_at desc
),

ads_seen as (
    select * from {{ ref('int_ads_seen') }}
),

adsets_seen as (
    select * from {{ ref('int_adsets_seen') }}
),

campaigns_seen as (
    select * from {{ ref('int_campaigns_seen') }}
),

accounts as (
    select * from {{ ref('int_ad_accounts') }}
),

unioned as (
    select
        'ad' as kind,
        fb_ad_id as fb_id,
        fb_ad_id,
        fb_adset_id,
        fb_campaign_id,
        account_id,
        ad_name as object_name,
        created_at,
        1 as precedence
    from ads
    union all
    select
        'ad' as kind,
        fb_ad_id as fb_id,
        fb_ad_id,
        fb_adset_id,
        fb_campaign_id,
        account_id,
        ad_name as object_name,
        null as created_at,
        2 as precedence
    from ads_seen
    union all
    select
        'adset' as kind,
        fb_adset_id as fb_id,
        null as fb_ad_id,
        fb_adset_id,
        fb_campaign_id,
        account_id,
        adset_name as object_name,
        created_at,
        1 as precedence
    from adsets
    union all
    select
        'adset' as kind,
        fb_adset_id as fb_id,
        null as fb_ad_id,
        fb_adset_id,
        fb_campaign_id,
        account_id,
        adset_name as object_name,
        null as created_at,
        2 as precedence
    from adsets_seen
    union all
    select
        'campaign' as kind,
        fb_campaign_id as fb_id,
        null as fb_ad_id,
        null as fb_adset_id,
        fb_campaign_id,
        account_id,
        campaign_name as object_name,
        created_at,
        1 as precedence
    from campaigns
    union all
    select
        'campaign' as kind,
        fb_campaign_id as fb_id,
        null as fb_ad_id,
        null as fb_adset_id,
        fb_campaign_id,
        account_id,
        campaign_name as object_name,
        null as created_at,
        2 as precedence
    from campaigns_seen
),

best as (
    select distinct on (unioned.fb_id)
        unioned.kind,
        unioned.fb_id,
        {{ meta_key('campaign', 'unioned.fb_campaign_id') }} as campaign_id,
        {{ meta_key('adset', 'unioned.fb_adset_id') }} as adset_id,
        {{ meta_key('ad', 'unioned.fb_ad_id') }} as ad_id,
        unioned.fb_ad_id,
        unioned.fb_adset_id,
        unioned.fb_campaign_id,
        unioned.account_id,
        accounts.brand_slug,
        accounts.time_zone,
        unioned.object_name,
        unioned.created_at
    from unioned
    left join accounts on unioned.account_id = accounts.account_id
    where unioned.fb_id is not null
    order by unioned.fb_id, unioned.precedence, unioned.kind
)

select * from best
