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
    select
        every_row.*,
        null as key_problem
    from (select * from {{ ref('base_app__touchpoints') }}) as every_row
    left join (select * from {{ ref('base_app__repeated_touchpoints') }}) as repeated
        on
            every_row.brand_slug = repeated.brand_slug
            and every_row.touchpoint_id = repeated.touchpoint_id
    where
        repeated.touchpoint_id is null
        and {{ usually('every_row.problem is null') }}
    union all
    select * from {{ ref('base_app__repeated_touchpoints') }}
    where key_problem is null
) as touchpoints
