with

profiles as (
    select
        *,
        null as key_problem
    from {{ ref('base_app__profiles') }}
    where {{ usually('problem is null') }}
),

repeated as (
    select * from {{ ref('base_app__repeated_profiles') }}
),

-- Each key once.
unique_rows as (
    select profiles.*
    from profiles
    left join repeated
        on
            profiles.brand_slug = repeated.brand_slug
            and profiles.profile_id = repeated.profile_id
    where repeated.profile_id is null
    union all
    select * from repeated
    where key_problem is null
),

renamed as (
    select
        profile_id,
        brand_slug,
        nullif(trim(external_id), '') as contact_id,
        email_hash,
        phone_hash,
        updated_at
    from unique_rows
)

select * from renamed
