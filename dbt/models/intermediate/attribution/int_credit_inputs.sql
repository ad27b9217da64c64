{{
    config(
        pre_hook="
            create table if not exists {{ stored_reference_hashes() }} (
                reference_hash bigint primary key, target_hash bigint not null
            )
        ",
    )
}}
{#-
    What the credits of each purchase are computed from, as one number: whatever changes in the
    purchase, in any touch of its person or in the settings changes it. `path_hashes` decides whether
    that matters. A purchase is not settled if a reference in a touch of its person leads to
    something else than when credits were last computed.
-#}
with

transactions as (
    select * from {{ ref('int_transactions') }}
),

visits as (
    select * from {{ ref('stg_app__touchpoints') }}
),

urls as (
    select * from {{ ref('base_app__touch_urls') }}
),

touches_by_profile as not materialized (
    select * from {{ ref('int_touches_by_profile') }}
),

people as not materialized (
    select * from {{ ref('int_people') }}
),

reference_hashes as (
    select * from {{ ref('int_reference_hashes') }}
),

stored_reference_hashes as (
    select * from {{ stored_reference_hashes() }}
),

-- Grouped, and not joined: that way Postgres expects few.
changed_references as (
    select reference_hash
    from (
        select
            reference_hash,
            target_hash
        from reference_hashes
        union all
        select
            reference_hash,
            target_hash
        from stored_reference_hashes
    ) as before_and_after
    group by reference_hash
    having count(*) = 1 or min(target_hash) <> max(target_hash)
),

changed_urls as (
    select urls.url_hash
    from urls
    cross join lateral unnest({{ references_of_url('urls') }}) as named (name)
    inner join changed_references
        on {{ reference_hash('named.name') }} = changed_references.reference_hash
),

-- Every visit is read twice for this: only if there is anything to look for.
changed_profiles as (
    select
        brand_slug,
        profile_id
    from visits
    where
        exists (select 1 from changed_references)
        and (
            url_hash in (select changed_urls.url_hash from changed_urls)
            or {{ reference_hash('gclid') }} in (
                select changed_references.reference_hash from changed_references
            )
        )
    group by brand_slug, profile_id
    union all
    select
        touches_by_profile.brand_slug,
        touches_by_profile.profile_id
    from touches_by_profile
    cross join lateral unnest(touches_by_profile.named_ids) as named (name)
    inner join changed_references
        on {{ reference_hash('named.name') }} = changed_references.reference_hash
    where touches_by_profile.named_ids is not null
),

changed_people as (
    select
        changed_profiles.brand_slug,
        coalesce(people.person_id, changed_profiles.profile_id) as person_id
    from changed_profiles
    left join people
        on
            changed_profiles.brand_slug = people.brand_slug
            and changed_profiles.profile_id = people.profile_id
),

touches_of_people as (
    select
        touches_by_profile.brand_slug,
        coalesce(people.person_id, touches_by_profile.profile_id) as person_id,
        sum(
            hash_record_extended(
                row(
                    touches_by_profile.kind,
                    touches_by_profile.profile_id,
                    touches_by_profile.touches_hash
                ),
                0
            )
        ) as touches_hash
    from touches_by_profile
    left join people
        on
            touches_by_profile.brand_slug = people.brand_slug
            and touches_by_profile.profile_id = people.profile_id
    group by
        touches_by_profile.brand_slug,
        coalesce(people.person_id, touches_by_profile.profile_id)
),

inputs as (
    select
        transactions.transaction_id,
        transactions.brand_slug,
        hash_record_extended(
            row(
                {{ purchase_inputs('transactions') }},
                touches_of_people.touches_hash
            ),
            0
        ) as inputs_hash,
        (transactions.brand_slug, transactions.person_id) in (
            select
                changed_people.brand_slug,
                changed_people.person_id
            from changed_people
        ) is not true as is_settled
    from transactions
    left join touches_of_people
        on
            transactions.brand_slug = touches_of_people.brand_slug
            and transactions.person_id = touches_of_people.person_id
)

select * from inputs
