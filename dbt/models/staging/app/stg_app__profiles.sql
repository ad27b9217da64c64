{#- E-mail addresses and phone numbers stay in `app`: from here on there are only hashes. -#}
with

source as (
    select * from {{ source('app', 'profiles') }}
),

renamed as (
    select
        profile_id,
        brand_slug,
        nullif(trim(external_id), '') as contact_id,
        encode(sha256(convert_to(nullif(lower(trim(email)), ''), 'UTF8')), 'hex') as email_hash,
        encode(
            sha256(
                convert_to(nullif(ltrim(regexp_replace(phone, '\D', '', 'g'), '0'), ''), 'UTF8')
            ),
            'hex'
        ) as phone_hash,
        updated_at
    from source
)

select * from renamed
