with

clicks as (
    select * from {{ ref('stg_google__click_view') }}
),

latest as (
    select distinct on (gclid)
        gclid,
        account_id as google_account_id,
        google_campaign_id,
        google_ad_group_id,
        google_ad_id
    from clicks
    where google_campaign_id is not null
    order by gclid asc, date desc, account_id asc
)

select * from latest
