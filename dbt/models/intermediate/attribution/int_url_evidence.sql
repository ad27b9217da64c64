{{
    config(
        materialized='table',
        pre_hook="set local work_mem = '64MB'",
        post_hook='analyze {{ this }}',
    )
}}

with

visits as (
    select * from {{ ref('stg_app__touchpoints') }}
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

named as (
    select distinct
        url_hash,
        brand_slug,
        ad_id,
        utm_campaign,
        utm_term,
        utm_content
    from visits
    union
    select
        url_hash,
        brand_slug,
        ad_id,
        null as utm_campaign,
        null as utm_term,
        null as utm_content
    from contact_touches
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
        sum(
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
            )
        ) as known_hash
    from keys
    left join ad_names on keys.name_key = ad_names.name_key
    left join ad_objects on coalesce(keys.fb_id, ad_names.fb_id) = ad_objects.fb_id
    where ad_names.name_key is not null or ad_objects.fb_id is not null
    group by keys.url_hash
)

select * from known
