with

contacts as (
    select * from {{ ref('stg_tributary__contacts') }}
),

brands as (
    select * from {{ ref('stg_tributary__brands') }}
),

touches as (
    select
        'contact|' || brands.brand_slug || '|' || contacts.contact_id as touchpoint_id,
        brands.brand_slug,
        contacts.contact_id,
        contacts.ad_id,
        contacts.fb_click_id,
        contacts.gclid,
        least(contacts.first_seen_at, contacts.clicked_at) as touched_at
    from contacts
    inner join brands on contacts.brand_id = brands.brand_id
    where coalesce(contacts.ad_id, contacts.fb_click_id, contacts.gclid) is not null
)

select * from touches
