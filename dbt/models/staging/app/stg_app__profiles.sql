with

profiles as (
    {{ rows_that_count('profiles', 'profile_id') }}
),

renamed as (
    select
        profile_id,
        brand_slug,
        nullif(trim(external_id), '') as contact_id,
        email_hash,
        phone_hash,
        updated_at
    from profiles
)

select * from renamed
