with

source as (
    select * from {{ source('google', 'google_click_view') }}
),

renamed as (
    select
        gclid,
        account_id,
        payload #>> '{campaign,id}' as google_campaign_id,
        payload #>> '{campaign,name}' as campaign_name,
        payload #>> '{ad_group,id}' as google_ad_group_id,
        payload #>> '{ad_group,name}' as ad_group_name,
        nullif(split_part(payload #>> '{click_view,ad_group_ad}', '~', 2), '') as google_ad_id,
        date,
        extracted_at
    from source
)

select * from renamed
