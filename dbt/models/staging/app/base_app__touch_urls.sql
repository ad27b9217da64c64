{#- Each different URL once, as the columns are: so it is cleaned once, too. -#}
with

urls as (
    select distinct
        brand_slug,
        ad_id,
        utm_campaign,
        utm_content,
        utm_term
    from {{ source('app', 'touchpoints') }}
),

cleaned as (
    select
        {{ url_hash() }} as url_hash,
        brand_slug,
        nullif(trim(ad_id), '') as ad_id,
        nullif(trim(utm_campaign), '') as utm_campaign,
        nullif(trim(utm_content), '') as utm_content,
        nullif(trim(utm_term), '') as utm_term
    from urls
)

select * from cleaned
