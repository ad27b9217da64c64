{#- Where Google says that a click came from: of the clicks of people whose purchases are due. -#}
with

touchpoints as (
    select * from {{ ref('int_touchpoints') }}
),

clicks as (
    select * from {{ ref('stg_google__click_view') }}
),

latest as (
    select distinct on (gclid)
        gclid,
        google_campaign_id,
        google_ad_group_id,
        google_ad_id
    from clicks
    where
        google_campaign_id is not null
        and gclid in (select touchpoints.gclid from touchpoints)
    order by gclid asc, date desc, account_id asc
)

select * from latest
