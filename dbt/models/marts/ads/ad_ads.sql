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
    select distinct on (fb_ad_id) *
    from {{ ref('stg_meta__ads') }}
    order by fb_ad_id asc, extracted_at desc
),

ads_seen as (
    select * from {{ ref('int_ads_seen') }}
),

accounts as (
    select * from {{ ref('int_ad_accounts') }}
),

members as (
    select
        {{ meta_key('ad', 'ads.fb_ad_id') }} as id,
        {{ meta_key('adset', 'ads.fb_adset_id') }} as adset_id,
        {{ meta_key('campaign', 'ads.fb_campaign_id') }} as campaign_id,
        ads.fb_ad_id,
        ads.fb_adset_id,
        ads.fb_campaign_id,
        ads.account_id,
        accounts.brand_slug,
        ads.ad_name as name,
        ads.status,
        ads.effective_status,
        ads.creative_id,
        {{ creative_summary('ads.creative') }} as creative_summary,
        false as is_inferred,
        ads.created_at,
        ads.updated_at
    from ads
    left join accounts on ads.account_id = accounts.account_id
),

inferred as (
    select
        {{ meta_key('ad', 'ads_seen.fb_ad_id') }} as id,
        {{ meta_key('adset', 'ads_seen.fb_adset_id') }} as adset_id,
        {{ meta_key('campaign', 'ads_seen.fb_campaign_id') }} as campaign_id,
        ads_seen.fb_ad_id,
        ads_seen.fb_adset_id,
        ads_seen.fb_campaign_id,
        ads_seen.account_id,
        accounts.brand_slug,
        ads_seen.ad_name as name,
        null::text as status,
        null::text as effective_status,
        null::text as creative_id,
        null::text as creative_summary,
        true as is_inferred,
        ads_seen.first_seen_at as created_at,
        ads_seen.last_seen_at as updated_at
    from ads_seen
    left join accounts on ads_seen.account_id = accounts.account_id
    where not exists (
        select 1 from ads
        where ads.fb_ad_id = ads_seen.fb_ad_id
    )
),

unknown as (
    select
        {{ meta_unknown_key('ad') }} as id,
        {{ meta_unknown_key('adset') }} as adset_id,
        {{ meta_unknown_key('campaign') }} as campaign_id,
        null::text as fb_ad_id,
        null::text as fb_adset_id,
        null::text as fb_campaign_id,
        null::text as account_id,
        null::text as brand_slug,
        '(unknown)' as name,
        null::text as status,
        null::text as effective_status,
        null::text as creative_id,
        null::text as creative_summary,
        true as is_inferred,
        null::timestamptz as created_at,
        null::timestamptz as updated_at
),

unioned as (
    select * from members
    union all
    select * from inferred
    union all
    select * from unknown
)

select * from unioned
