{{ seen_in_spend('ad_id') }},

renamed as (
    select
        fb_ad_id,
        fb_adset_id,
        fb_campaign_id,
        account_id,
        ad_name,
        {{ midnight('first_date') }} as first_seen_at,
        {{ midnight('last_date') }} as last_seen_at
    from seen
)

select * from renamed
