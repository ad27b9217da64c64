{{
    config(
        materialized='incremental',
        pre_hook="set local work_mem = '64MB'",
        post_hook='analyze {{ this }}',
    )
}}
{#- What no visit names any more may stay until the next full refresh. -#}

select distinct
    {{ url_hash() }} as url_hash,
    brand_slug,
    ad_id,
    utm_campaign,
    utm_content,
    utm_term
from {{ source('app', 'touchpoints') }}
where
    coalesce(ad_id, utm_campaign, utm_content, utm_term) is not null
    {%- if is_incremental() %}
    and {{ url_hash() }} not in (select held.url_hash from {{ this }} as held)
    {%- endif %}
