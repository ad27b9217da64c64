{{
    config(
        materialized='table',
        pre_hook="set local work_mem = '64MB'",
        post_hook='analyze {{ this }}',
    )
}}
{#-
    Profiles that are one person: they share a hashed e-mail or phone, or are known to be a contact.
    Linked over any number of steps. An identifier that more profiles have than the var
    `identity_max_profiles` says nothing of anybody (a shop's own number, an invented address).
-#}
with recursive

profiles as (
    select * from {{ ref('stg_app__profiles') }}
),

transactions as (
    select * from {{ ref('stg_app__transactions') }}
),

touchpoints as (
    select * from {{ ref('stg_app__touchpoints') }}
),

contact_touches as (
    select * from {{ ref('int_contact_touches') }}
),

conversion_events as (
    select * from {{ ref('stg_tributary__conversion_events') }}
),

brands as (
    select * from {{ ref('stg_tributary__brands') }}
),

identifiers as (
    select
        brand_slug,
        'email|' || email_hash as identifier,
        profile_id
    from profiles
    where email_hash is not null
    union all
    select
        brand_slug,
        'phone|' || phone_hash as identifier,
        profile_id
    from profiles
    where phone_hash is not null
),

shared as (
    select
        brand_slug,
        identifier,
        min(profile_id) as first_profile_id
    from identifiers
    group by brand_slug, identifier
    having count(*) between 2 and {{ attribution_setting('identity_max_profiles') }}
),

-- A contact's id may stand in the place of a profile's, in touches or purchases, unless it is
-- another profile's own.
contact_links as (
    select
        profiles.brand_slug,
        profiles.profile_id,
        profiles.contact_id
    from profiles
    where profiles.contact_id is not null
    union
    select
        transactions.brand_slug,
        transactions.profile_id,
        conversion_events.contact_id
    from conversion_events
    inner join brands on conversion_events.brand_id = brands.brand_id
    inner join transactions
        on
            conversion_events.transaction_id = transactions.transaction_id
            and brands.brand_slug = transactions.brand_slug
    where
        transactions.profile_id is not null
        and nullif(conversion_events.contact_id, '') is not null
),

-- Ids in the place of a profile's that no profile has.
strangers as (
    select distinct
        named.brand_slug,
        named.profile_id
    from (
        select
            touchpoints.brand_slug,
            touchpoints.profile_id
        from touchpoints
        union all
        select
            contact_touches.brand_slug,
            contact_touches.contact_id
        from contact_touches
        union all
        select
            transactions.brand_slug,
            transactions.profile_id
        from transactions
    ) as named
    where not exists (
        select 1 from profiles
        where
            profiles.brand_slug = named.brand_slug
            and profiles.profile_id = named.profile_id
    )
),

links as (
    select
        shared.brand_slug,
        shared.first_profile_id as one,
        identifiers.profile_id as other
    from shared
    inner join identifiers
        on
            shared.brand_slug = identifiers.brand_slug
            and shared.identifier = identifiers.identifier
    where shared.first_profile_id <> identifiers.profile_id
    union
    select
        contact_links.brand_slug,
        contact_links.profile_id as one,
        contact_links.contact_id as other
    from contact_links
    inner join strangers
        on
            contact_links.brand_slug = strangers.brand_slug
            and contact_links.contact_id = strangers.profile_id
    where contact_links.profile_id <> contact_links.contact_id
),

both_ways as (
    select
        brand_slug,
        one,
        other
    from links
    union
    select
        brand_slug,
        other as one,
        one as other
    from links
),

reached as (
    select distinct
        brand_slug,
        one as profile_id,
        one as member_id
    from both_ways
    union
    select
        reached.brand_slug,
        reached.profile_id,
        both_ways.other as member_id
    from reached
    inner join both_ways
        on reached.brand_slug = both_ways.brand_slug and reached.member_id = both_ways.one
),

grouped as (
    select
        brand_slug,
        profile_id,
        min(member_id) as person_id
    from reached
    group by brand_slug, profile_id
)

select * from grouped
