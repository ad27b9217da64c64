{#-
    No `with` here: Postgres plans a view that has one as a closed box, and whoever asks for an
    account's newest day, or for one row of a day, would read all partitions instead of an index.
-#}
{%- set purchases = meta_action('actions', ['omni_purchase', 'purchase']) -%}
{%- set purchase_value = meta_action('action_values', ['omni_purchase', 'purchase']) -%}

select
    ad_id as fb_ad_id,
    {{ meta_text('adset_id') }} as fb_adset_id,
    {{ meta_text('campaign_id') }} as fb_campaign_id,
    account_id,
    {{ meta_text('account_name') }} as account_name,
    {{ meta_currency('account_currency') }} as currency,
    {{ meta_text('campaign_name') }} as campaign_name,
    {{ meta_text('adset_name') }} as adset_name,
    {{ meta_text('ad_name') }} as ad_name,
    coalesce({{ meta_number('spend') }}, 0) as spend,
    {{ meta_count('impressions') }} as impressions,
    {{ meta_count('clicks') }} as clicks,
    {{ meta_count('inline_link_clicks') }} as link_clicks,
    coalesce({{ purchases }}, 0) as platform_purchases,
    -- No purchases are worth nothing; purchases without a value are worth we do not know what.
    coalesce(
        {{ purchase_value }}, case when coalesce({{ purchases }}, 0) = 0 then 0 end
    ) as platform_purchase_value,
    date,
    extracted_at
from {{ source('meta', 'meta_ad_insights') }}
