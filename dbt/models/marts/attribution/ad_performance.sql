{{ config(materialized='view_in_place') }}

{{ performance('ad') }},

ads as (
    select * from {{ ref('ad_ads') }}
),

placed as (
    select
        compared.*,
        coalesce(ads.campaign_id, {{ meta_unknown_key('campaign') }}) as campaign_id,
        coalesce(ads.adset_id, {{ meta_unknown_key('adset') }}) as adset_id,
        ads.fb_campaign_id,
        ads.fb_adset_id
    from compared
    left join ads on compared.ad_id = ads.id
)

select * from placed
