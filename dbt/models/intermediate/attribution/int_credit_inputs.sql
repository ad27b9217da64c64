{#-
    What the credits of each purchase are computed from, as one number: whatever changes in the
    purchase, in any touch of its person, in what is known of what the touch names, or in the
    settings changes it. A number that changes without need costs the computation of one person.
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

numbers as (
    select
        brand_slug,
        profile_id,
        hash_record_extended(row(kind, profile_id, touches_hash), 0) as touches_hash,
        null::bigint as known_hash
    from touches_by_profile
    union all
    select
        touches_by_profile.brand_slug,
        touches_by_profile.profile_id,
        null as touches_hash,
        url_evidence.known_hash
    from touches_by_profile
    cross join lateral unnest(touches_by_profile.url_hashes) as named (url_hash)
    inner join url_evidence on named.url_hash = url_evidence.url_hash
),

touches_of_people as (
    select
        numbers.brand_slug,
        coalesce(people.person_id, numbers.profile_id) as person_id,
        sum(numbers.touches_hash) as touches_hash,
        sum(numbers.known_hash) as known_hash
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
                touches_of_people.known_hash,
                {{ attribution_settings_text() }}
            ),
            0
        ) as inputs_hash,
        true as is_settled
    from transactions
    left join touches_of_people
        on
            transactions.brand_slug = touches_of_people.brand_slug
            and transactions.person_id = touches_of_people.person_id
)

select * from inputs
