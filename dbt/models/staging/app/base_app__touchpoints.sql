{#-
    Casts the user's columns, and names the first mistake of each row by itself. No `with` here, so
    that Postgres looks through this view.
-#}
select
    *,
    case
        when coalesce(touchpoint_id, '') = '' then 'key_missing'
        when coalesce(brand_slug, '') = '' then 'brand_missing'
        when
            brand_slug not in (
                select brands.slug
                from (select * from {{ source('tributary', 'brands') }}) as brands
            )
            then 'brand_unknown'
        when touched_at is null then 'time_missing'
        when touched_at < '2000-01-01 00:00:00+00' or touched_at > now() + interval '24 hours'
            then 'time_impossible'
    end as problem
from (
    select
        touchpoint_id::text as touchpoint_id,
        brand_slug::text as brand_slug,
        profile_id::text as profile_id,
        utm_source::text as utm_source,
        utm_medium::text as utm_medium,
        utm_campaign::text as utm_campaign,
        utm_content::text as utm_content,
        utm_term::text as utm_term,
        ad_id::text as ad_id,
        fbclid::text as fbclid,
        fbc::text as fbc,
        gclid::text as gclid,
        gbraid::text as gbraid,
        wbraid::text as wbraid,
        touched_at::timestamptz as touched_at
    from {{ source('app', 'touchpoints') }}
) as touchpoints
