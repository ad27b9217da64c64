{{ config(pre_hook='{{ without_merge_joins() }}') }}
{#-
    All touches of the people whose purchases are due: of the site, and of contacts (see
    `int_contact_touches`).
-#}
with

purchases as (
    select * from {{ ref('int_purchases_due') }}
    where not is_gone
),

people as (
    select * from {{ ref('int_people') }}
),

visits as (
    select * from {{ ref('stg_app__touchpoints') }}
),

contact_touches as (
    select * from {{ ref('int_contact_touches') }}
),

-- Distinct, also so that Postgres joins them as they are, by a hash.
profiles as (
    select distinct
        purchases.brand_slug,
        purchases.person_id,
        coalesce(people.profile_id, purchases.person_id) as profile_id
    from purchases
    left join people
        on
            purchases.brand_slug = people.brand_slug
            and purchases.person_id = people.person_id
    where purchases.person_id is not null
),

touches as (
    select
        touchpoint_id,
        brand_slug,
        profile_id,
        utm_source,
        utm_medium,
        utm_campaign,
        utm_content,
        utm_term,
        ad_id,
        fb_click_id,
        gclid,
        coalesce(gclid, gbraid, wbraid) as google_click_id,
        touched_at
    from visits
    union all
    select
        touchpoint_id,
        brand_slug,
        contact_id as profile_id,
        null as utm_source,
        null as utm_medium,
        null as utm_campaign,
        null as utm_content,
        null as utm_term,
        ad_id,
        fb_click_id,
        gclid,
        gclid as google_click_id,
        touched_at
    from contact_touches
),

of_buyers as (
    select
        touches.*,
        profiles.person_id
    from touches
    inner join profiles
        on touches.brand_slug = profiles.brand_slug and touches.profile_id = profiles.profile_id
)

select * from of_buyers
