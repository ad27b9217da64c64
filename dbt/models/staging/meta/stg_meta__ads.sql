with

source as (
    select * from {{ source('meta', 'meta_ads') }}
),

renamed as (
    select
        id as fb_ad_id,
        {{ meta_text('adset_id') }} as fb_adset_id,
        {{ meta_text('campaign_id') }} as fb_campaign_id,
        account_id,
        {{ meta_text('name') }} as ad_name,
        {{ meta_text('status') }} as status,
        {{ meta_text('effective_status') }} as effective_status,
        payload #>> '{creative,id}' as creative_id,
        payload -> 'creative' as creative,
        {{ meta_time('created_time') }} as created_at,
        {{ meta_time('updated_time') }} as updated_at,
        extracted_at
    from source
)

select * from renamed
