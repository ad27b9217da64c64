{#-
    Profiles that are one person: they share a hashed e-mail or phone, or are known to be a contact.
    Linked over any number of steps. An identifier that more profiles have than the var
    `identity_max_profiles` says nothing of anybody (a shop's own number, an invented address).
-#}
with recursive

profiles as not materialized (
    select * from {{ ref('stg_app__profiles') }}
),

transactions as not materialized (
    select * from {{ ref('stg_app__transactions') }}
),

visits as not materialized (
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

shared_identifiers as (
    select * from {{ ref('base_app__shared_identifiers') }}
),

shared as (
    select
        brand_slug,
        profile_id,
        min(profile_id) over sharing as first_profile_id,
        count(*) over sharing as profile_count
    from shared_identifiers
    window sharing as (partition by brand_slug, kind, identifier_hash)
),

contacts as (
    select
        profiles.brand_slug,
        profiles.profile_id,
        profiles.contact_id
    from profiles
    where profiles.contact_id is not null
    union all
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

named as (
    select
        brand_slug,
        profile_id
    from visits
    union all
    select
        brand_slug,
        contact_id
    from contact_touches
    union all
    select
        brand_slug,
        profile_id
    from transactions
),

-- A contact's id that touches or purchases use in place of a profile's, unless it is another
-- profile's own.
used_contacts as (
    select
        contacts.brand_slug,
        contacts.profile_id,
        contacts.contact_id
    from contacts
    left join profiles as namesakes
        on
            contacts.brand_slug = namesakes.brand_slug
            and contacts.contact_id = namesakes.profile_id
    where
        contacts.profile_id <> contacts.contact_id
        and namesakes.profile_id is null
        and (contacts.brand_slug, contacts.contact_id) in (
            select
                named.brand_slug,
                named.profile_id
            from named
        )
),

links as (
    select
        brand_slug,
        first_profile_id as one,
        profile_id as other
    from shared
    where
        first_profile_id <> profile_id
        and profile_count <= {{ attribution_setting('identity_max_profiles') }}
    union
    select
        brand_slug,
        profile_id as one,
        contact_id as other
    from used_contacts
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
