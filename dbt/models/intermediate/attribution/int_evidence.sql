{{ config(materialized='table', post_hook='analyze {{ this }}') }}

with

ad_objects as (
    select * from {{ ref('int_ad_objects') }}
),

ad_names as (
    select * from {{ ref('int_ad_names') }}
),

google_clicks as (
    select * from {{ ref('int_google_clicks') }}
),

known as (
    select
        {{ named_hash('fb_id') }} as named_hash,
        hash_record_extended(row({{ object_columns('ad_objects') }}), 0) as known_hash
    from ad_objects
    union all
    select
        {{ named_hash('ad_names.name_key') }} as named_hash,
        hash_record_extended(
            row(
                ad_names.is_ambiguous,
                ad_names.valid_from,
                ad_names.valid_to,
                {{ object_columns('ad_objects') }}
            ),
            0
        ) as known_hash
    from ad_names
    left join ad_objects on ad_names.fb_id = ad_objects.fb_id
    union all
    select
        {{ named_hash('gclid') }} as named_hash,
        hash_record_extended(google_clicks, 0) as known_hash
    from google_clicks
),

-- A name has a row for each of its spans.
summed as (
    select
        named_hash,
        hash_record_extended(row(sum(known_hash)), 0) as known_hash
    from known
    group by named_hash
)

select * from summed
