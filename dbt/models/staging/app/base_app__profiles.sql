{#-
    Casts the user's columns, and names the first mistake of each row by itself. E-mail addresses and
    phone numbers leave `app` as hashes only: addresses in lower case, phone numbers as digits without
    leading zeros. No `with` here, so that Postgres looks through this view.
-#}
select
    *,
    case
        when coalesce(profile_id, '') = '' or {{ is_placeholder('profile_id') }}
            then 'key_missing'
        when coalesce(brand_slug, '') = '' then 'brand_missing'
        when
            brand_slug not in (
                select brands.slug
                from (select * from {{ source('tributary', 'brands') }}) as brands
            )
            then 'brand_unknown'
    end as problem
from (
    select
        profile_id::text as profile_id,
        brand_slug::text as brand_slug,
        external_id::text as external_id,
        encode(sha256(convert_to(nullif(lower(trim(email)), ''), 'UTF8')), 'hex') as email_hash,
        encode(
            sha256(
                convert_to(nullif(ltrim(regexp_replace(phone, '\D', '', 'g'), '0'), ''), 'UTF8')
            ),
            'hex'
        ) as phone_hash,
        updated_at::timestamptz as updated_at
    from {{ source('app', 'profiles') }}
) as profiles
