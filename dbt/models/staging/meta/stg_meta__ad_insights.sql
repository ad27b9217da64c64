with

source as (
    select * from {{ source('meta', 'meta_ad_insights') }}
),

renamed as (
    select
        ad_id as fb_ad_id,
        {{ meta_text('adset_id') }} as fb_adset_id,
        {{ meta_text('campaign_id') }} as fb_campaign_id,
        account_id,
        {{ meta_text('account_name') }} as account_name,
        {{ meta_text('account_currency') }} as currency,
        {{ meta_text('campaign_name') }} as campaign_name,
        {{ meta_text('adset_name') }} as adset_name,
        {{ meta_text('ad_name') }} as ad_name,
        coalesce({{ meta_number('spend') }}, 0) as spend,
        {{ meta_count('impressions') }} as impressions,
        {{ meta_count('clicks') }} as clicks,
        {{ meta_count('inline_link_clicks') }} as link_clicks,
        {{ meta_action('actions', ['omni_purchase', 'purchase']) }} as platform_purchases,
        {{ meta_action('action_values', ['omni_purchase', 'purchase']) }}
            as platform_purchase_value,
        date,
        extracted_at
    from source
),

claims_settled as (
    select
        fb_ad_id,
        fb_adset_id,
        fb_campaign_id,
        account_id,
        account_name,
        currency,
        campaign_name,
        adset_name,
        ad_name,
        spend,
        impressions,
        clicks,
        link_clicks,
        coalesce(platform_purchases, 0) as platform_purchases,
        -- No purchases are worth nothing; purchases without a value are worth we do not know what.
        case
            when platform_purchase_value is not null then platform_purchase_value
            when coalesce(platform_purchases, 0) = 0 then 0
        end as platform_purchase_value,
        date,
        extracted_at
    from renamed
)

select * from claims_settled
