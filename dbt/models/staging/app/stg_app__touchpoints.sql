{#-
    No `with` here, so that Postgres looks through this view and cleans only the touches that a join
    leaves. Of a cookie's click id (`fbc`) nothing is taken when the visit names another source: the
    cookie outlives the click by months.
-#}
select
    touchpoint_id,
    brand_slug,
    profile_id,
    nullif(lower(trim(utm_source)), '') as utm_source,
    nullif(lower(trim(utm_medium)), '') as utm_medium,
    nullif(trim(utm_campaign), '') as utm_campaign,
    nullif(trim(utm_content), '') as utm_content,
    nullif(trim(utm_term), '') as utm_term,
    nullif(trim(ad_id), '') as ad_id,
    case
        when nullif(fbclid, '') is not null then fbclid
        when
            coalesce(nullif(gclid, ''), nullif(gbraid, ''), nullif(wbraid, '')) is null
            and nullif(utm_source, '') is null
            and nullif(utm_medium, '') is null
            then nullif(split_part(fbc, '.', 4), '')
    end as fb_click_id,
    nullif(gclid, '') as gclid,
    nullif(gbraid, '') as gbraid,
    nullif(wbraid, '') as wbraid,
    touched_at
from (
    {{ rows_that_count('touchpoints', 'touchpoint_id') }}
) as touchpoints
