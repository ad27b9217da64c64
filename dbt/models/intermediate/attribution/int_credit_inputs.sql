{{
    config(
        pre_hook="
            create table if not exists {{ evidence_kept() }} (
                url_hash bigint primary key, known_hash bigint not null
            )
        ",
    )
}}
{#-
    What the credits of each purchase are computed from, as one number: whatever changes in the
    purchase, in any touch of its person or in the settings changes it. A number that changes without
    need costs the computation of one person. A purchase is not settled if a touch of its person
    names something of which we now know something else than when credits were computed last.
-#}
with

transactions as (
    select * from {{ ref('int_transactions') }}
),

touches_by_profile as not materialized (
    select * from {{ ref('int_touches_by_profile') }}
),

people as (
    select * from {{ ref('int_people') }}
),

url_evidence as (
    select * from {{ ref('int_url_evidence') }}
),

evidence_kept as (
    select * from {{ evidence_kept() }}
),

-- Grouped, and not joined: that way Postgres expects few.
changed_evidence as (
    select url_hash
    from (
        select
            url_hash,
            known_hash
        from url_evidence
        union all
        select
            url_hash,
            known_hash
        from evidence_kept
    ) as before_and_after
    group by url_hash
    having count(*) = 1 or min(known_hash) <> max(known_hash)
),

numbers as (
    select
        brand_slug,
        profile_id,
        hash_record_extended(row(kind, profile_id, touches_hash), 0) as touches_hash,
        false as is_changed
    from touches_by_profile
    union all
    select
        touches_by_profile.brand_slug,
        touches_by_profile.profile_id,
        null as touches_hash,
        true as is_changed
    from touches_by_profile
    cross join lateral unnest(touches_by_profile.url_hashes) as named (url_hash)
    inner join changed_evidence on named.url_hash = changed_evidence.url_hash
    group by touches_by_profile.brand_slug, touches_by_profile.profile_id
),

touches_of_people as (
    select
        numbers.brand_slug,
        coalesce(people.person_id, numbers.profile_id) as person_id,
        sum(numbers.touches_hash) as touches_hash,
        bool_or(numbers.is_changed) as is_changed
    from numbers
    left join people
        on
            numbers.brand_slug = people.brand_slug
            and numbers.profile_id = people.profile_id
    group by numbers.brand_slug, coalesce(people.person_id, numbers.profile_id)
),

inputs as (
    select
        transactions.transaction_id,
        hash_record_extended(
            row(
                transactions.brand_slug,
                transactions.person_id,
                transactions.value,
                transactions.currency,
                transactions.brand_time_zone,
                transactions.transacted_at,
                transactions.previous_purchase_at,
                touches_of_people.touches_hash,
                {{ attribution_settings_text() }}
            ),
            0
        ) as inputs_hash,
        touches_of_people.is_changed is not true as is_settled
    from transactions
    left join touches_of_people
        on
            transactions.brand_slug = touches_of_people.brand_slug
            and transactions.person_id = touches_of_people.person_id
)

select * from inputs
