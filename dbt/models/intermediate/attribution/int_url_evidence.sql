{{ config(materialized='table', post_hook='analyze {{ this }}') }}

with

touch_urls as (
    select * from {{ ref('base_app__touch_urls') }}
),

contact_touches as (
    select * from {{ ref('int_contact_touches') }}
),

ad_objects as (
    select * from {{ ref('int_ad_objects') }}
),

ad_names as (
    select * from {{ ref('int_ad_names') }}
),

google_clicks as (
    select * from {{ ref('int_google_clicks') }}
),

named as (
    select
        url_hash,
        brand_slug,
        nullif(trim(ad_id), '') as ad_id,
        nullif(trim(utm_campaign), '') as utm_campaign,
        nullif(trim(utm_term), '') as utm_term,
        nullif(trim(utm_content), '') as utm_content
    from touch_urls
    union
    select
        url_hash,
        brand_slug,
        ad_id,
        null as utm_campaign,
        null as utm_term,
        null as utm_content
    from contact_touches
    where ad_id is not null
),

keys as (
    select
        named.url_hash,
        looked_up.fb_id,
        looked_up.name_key
    from named
    cross join lateral (
        values
        (named.ad_id, null),
        (named.utm_campaign, null),
        (named.utm_term, null),
        (named.utm_content, null),
        {%- for term in ['named.utm_term', none] %}
        {%- for content in ['named.utm_content', none] %}
        (
            null,
            {{ name_key('named.brand_slug', 'named.utm_campaign', term, content) }}
        ){{ ',' if term or content }}
        {%- endfor %}
        {%- endfor %}
    ) as looked_up (fb_id, name_key)
),

known as (
    select
        keys.url_hash,
        hash_record_extended(
            row(
                keys.url_hash,
                ad_names.name_key,
                ad_names.is_ambiguous,
                ad_names.valid_from,
                ad_names.valid_to,
                {{ object_columns('ad_objects') }}
            ),
            0
        ) as known_hash
    from keys
    left join ad_names on keys.name_key = ad_names.name_key
    left join ad_objects on coalesce(keys.fb_id, ad_names.fb_id) = ad_objects.fb_id
    where ad_names.name_key is not null or ad_objects.fb_id is not null
    union all
    select
        hashtextextended(gclid, 0) as url_hash,
        hash_record_extended(google_clicks, 0) as known_hash
    from google_clicks
),

summed as (
    select
        url_hash,
        hash_record_extended(row(sum(known_hash)), 0) as known_hash
    from known
    group by url_hash
)

select * from summed
