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

transactions as not materialized (
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

-- Most identifiers are one profile's alone: numbers tell so at less cost than texts.
shared as (
    {%- for identifier in ['email_hash', 'phone_hash'] %}
    select
        '{{ identifier }}' as kind,
        brand_slug,
        {{ identifier }} as identifier,
        min(profile_id) as first_profile_id
    from profiles
    where
        hashtextextended({{ identifier }}, 0) in (
            select hashtextextended(every_profile.{{ identifier }}, 0)
            from profiles as every_profile
            group by hashtextextended(every_profile.{{ identifier }}, 0)
            having count(*) > 1
        )
    group by brand_slug, {{ identifier }}
    having count(*) between 2 and {{ attribution_setting('identity_max_profiles') }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}
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

-- Contacts' ids that stand in the place of a profile's.
strangers as (
    select
        brand_slug,
        profile_id
    from (
        select
            brand_slug,
            profile_id
        from touchpoints
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
    ) as named
    where (brand_slug, profile_id) in (
        select
            contact_links.brand_slug,
            contact_links.contact_id
        from contact_links
    )
    except
    select
        brand_slug,
        profile_id
    from profiles
),

links as (
    {%- for identifier in ['email_hash', 'phone_hash'] %}
    select
        shared.brand_slug,
        shared.first_profile_id as one,
        profiles.profile_id as other
    from shared
    inner join profiles
        on
            shared.brand_slug = profiles.brand_slug
            and shared.identifier = profiles.{{ identifier }}
    where shared.kind = '{{ identifier }}' and shared.first_profile_id <> profiles.profile_id
    union
    {%- endfor %}
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
