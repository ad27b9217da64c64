{#- E-mail addresses and phone numbers stay in `app`: see `base_app__shared_identifiers`. -#}
with

sound as (
    {{ app_sound_rows('profiles') }}
),

renamed as (
    select
        profile_id,
        brand_slug,
        nullif(trim(external_id), '') as contact_id,
        updated_at
    from sound
)

select * from renamed
