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
        {{ reference_hash('fb_id') }} as reference_hash,
        hash_record_extended(row({{ object_columns('ad_objects') }}), 0) as target_hash
    from ad_objects
    union all
    select
        {{ reference_hash('ad_names.name_key') }} as reference_hash,
        hash_record_extended(
            row(
                ad_names.is_ambiguous,
                ad_names.valid_from,
                ad_names.valid_to,
                {{ object_columns('ad_objects') }}
            ),
            0
        ) as target_hash
    from ad_names
    left join ad_objects on ad_names.fb_id = ad_objects.fb_id
    union all
    select
        {{ reference_hash('gclid') }} as reference_hash,
        hash_record_extended(google_clicks, 0) as target_hash
    from google_clicks
),

-- A name has a row for each of its spans.
summed as (
    select
        reference_hash,
        hash_record_extended(row(sum(target_hash)), 0) as target_hash
    from known
    group by reference_hash
)

select * from summed
