{#-
    The ad of each touch that may be in a path, by the first of these that says something:

    1. an ad id: in `ad_id` (any number), in `utm_content` (one that we know), or reported by a
       webhook for the same click;
    2. an id of an ad set or campaign in utm fields;
    3. a gclid that `raw.google_click_view` knows;
    4. names in utm fields that held for exactly one ad, ad set or campaign of the brand when the
       touch happened; asked only where something points to Meta;
    5. a click id or the source alone: the platform is known, the ad is not.
-#}
{%- set meta_sources = sql_list(attribution_setting('meta_sources')) %}
{%- set google_sources = sql_list(attribution_setting('google_sources')) %}
{%- set paid_mediums = sql_list(attribution_setting('paid_mediums')) %}
{%- set view_mediums = sql_list(attribution_setting('view_mediums')) %}

-- noqa: disable=LT02
with

purchases as (
    select * from {{ ref('int_purchases_due') }}
    where not is_gone
),

touchpoints as (
    select * from {{ ref('int_touchpoints') }}
),

ad_objects as (
    select * from {{ ref('int_ad_objects') }}
),

ad_names as (
    select * from {{ ref('int_ad_names') }}
),

contact_ads as (
    select * from {{ ref('int_contact_ads') }}
),

google_clicks as (
    select * from {{ ref('int_google_clicks') }}
),

-- A touch that is too old for the longest look-back is in no path.
recent as (
    select
        *,
        ad_id is not null and ad_id !~ '^\d+$' as has_malformed_ad_id,
        coalesce(fb_click_id, google_click_id) as click_id,
        coalesce(utm_medium in {{ paid_mediums }}, false) as has_paid_medium,
        coalesce(utm_medium in {{ view_mediums }}, false) as is_view,
        google_click_id is null and coalesce(
            utm_source in {{ meta_sources }}
            or fb_click_id is not null
            or (utm_source is null and utm_medium in {{ paid_mediums }}),
            false
        ) as may_be_meta
    from touchpoints
    where
        exists (
            select from purchases
            where
                purchases.brand_slug = touchpoints.brand_slug
                and purchases.person_id = touchpoints.person_id
                and purchases.transacted_at >= touchpoints.touched_at
                and purchases.transacted_at
                <= touchpoints.touched_at + interval '24 hours' * {{ longest_lookback_days() }}
        )
),

looked_up as (
    select
        touches.*,
        case when not touches.has_malformed_ad_id then touches.ad_id end as said_ad_id,
        case when by_content.kind = 'ad' then touches.utm_content end as utm_ad_id,
        contact_ads.fb_ad_id as contact_ad_id,
        {%- for kind in ['adset', 'campaign'] %}
        case '{{ kind }}'
            when by_content.kind then touches.utm_content
            when by_term.kind then touches.utm_term
            when by_campaign.kind then touches.utm_campaign
        end as {{ kind }}_id,
        {%- endfor %}
        google_clicks.google_campaign_id,
        google_clicks.google_ad_group_id,
        google_clicks.google_ad_id,
        coalesce(by_full_name.fb_id, by_ad_name.fb_id) as ad_name_id,
        by_adset_name.fb_id as adset_name_id,
        by_campaign_name.fb_id as campaign_name_id,
        coalesce(
            by_full_name.is_ambiguous
            or by_ad_name.is_ambiguous
            or by_adset_name.is_ambiguous
            or by_campaign_name.is_ambiguous,
            false
        ) as is_ambiguous
    from recent as touches
    {%- for field in ['content', 'term', 'campaign'] %}
    left join ad_objects as by_{{ field }} on touches.utm_{{ field }} = by_{{ field }}.fb_id
    {%- endfor %}
    left join contact_ads
        on
            touches.click_id = contact_ads.click_id
            and touches.brand_slug = contact_ads.brand_slug
    left join google_clicks on touches.gclid = google_clicks.gclid
    {%- for name, adset, ad in [
        ('full_name', 'touches.utm_term', 'touches.utm_content'),
        ('ad_name', none, 'touches.utm_content'),
        ('adset_name', 'touches.utm_term', none),
        ('campaign_name', none, none),
    ] %}
    left join ad_names as by_{{ name }}
        on
            case
                when
                    touches.may_be_meta
                    and {{ [adset, ad] | select | first or 'touches.utm_campaign' }} is not null
                    {%- if adset and ad %} and {{ ad }} is not null{% endif %}
                    then {{ name_key('touches.brand_slug', 'touches.utm_campaign', adset, ad) }}
            end = by_{{ name }}.name_key
            and touches.touched_at >= by_{{ name }}.valid_from
            and touches.touched_at < by_{{ name }}.valid_to
    {%- endfor %}
),

matched as (
    select
        *,
        case
            when said_ad_id is not null then 'ad_id'
            when utm_ad_id is not null then 'utm_ad_id'
            when contact_ad_id is not null then 'contact_ad_id'
            when adset_id is not null then 'adset_id'
            when campaign_id is not null then 'campaign_id'
            when gclid is not null then 'gclid'
            when ad_name_id is not null then 'ad_name'
            when adset_name_id is not null then 'adset_name'
            when campaign_name_id is not null then 'campaign_name'
            when fb_click_id is not null then 'fbclid'
            when google_click_id is not null then 'google_click_id'
            when utm_source in {{ meta_sources }} or utm_source in {{ google_sources }}
                then 'utm_source'
        end as match_method
    from looked_up
),

found as (
    select
        *,
        case when match_method = 'gclid' then google_campaign_id end as clicked_campaign_id,
        case match_method
            when 'ad_id' then said_ad_id
            when 'utm_ad_id' then utm_ad_id
            when 'contact_ad_id' then contact_ad_id
        end as touched_ad_id,
        case match_method
            when 'ad_id' then said_ad_id
            when 'utm_ad_id' then utm_ad_id
            when 'contact_ad_id' then contact_ad_id
            when 'adset_id' then adset_id
            when 'campaign_id' then campaign_id
            when 'ad_name' then ad_name_id
            when 'adset_name' then adset_name_id
            when 'campaign_name' then campaign_name_id
        end as object_id
    from matched
),

resolved as (
    select
        found.touchpoint_id,
        found.brand_slug,
        found.profile_id,
        found.person_id,
        case
            when objects.fb_id is not null or found.touched_ad_id is not null then 'meta'
            when found.clicked_campaign_id is not null then 'google'
            when found.fb_click_id is not null then 'meta'
            when found.google_click_id is not null then 'google'
            when found.utm_source in {{ meta_sources }} then 'meta'
            when found.utm_source in {{ google_sources }} then 'google'
        end as source_platform,
        objects.campaign_id,
        objects.adset_id,
        objects.ad_id,
        objects.fb_campaign_id,
        objects.fb_adset_id,
        coalesce(objects.fb_ad_id, found.touched_ad_id) as fb_ad_id,
        found.clicked_campaign_id as google_campaign_id,
        case when found.match_method = 'gclid' then found.google_ad_group_id end
            as google_ad_group_id,
        case when found.match_method = 'gclid' then found.google_ad_id end as google_ad_id,
        objects.account_id,
        objects.time_zone as account_time_zone,
        found.match_method,
        case
            when
                coalesce(objects.fb_id, found.touched_ad_id, found.clicked_campaign_id) is not null
                then null
            when found.match_method = 'gclid' then 'gclid_not_in_click_view'
            when found.match_method = 'google_click_id' then 'google_click_without_gclid'
            when found.is_ambiguous then 'name_ambiguous'
            when found.has_malformed_ad_id then 'ad_id_malformed'
            when
                found.may_be_meta
                and coalesce(found.utm_campaign, found.utm_term, found.utm_content) is not null
                then 'name_not_found'
            when found.match_method = 'fbclid' then 'click_id_alone'
            when found.match_method = 'utm_source' or found.has_paid_medium then 'no_ad_named'
            else 'not_an_ad'
        end as unresolved_reason,
        found.utm_source,
        found.utm_medium,
        found.fb_click_id,
        found.click_id,
        found.is_view,
        found.has_paid_medium
        or found.google_click_id is not null
        or found.touched_ad_id is not null as is_paid,
        found.touched_at
    from found
    left join ad_objects as objects on found.object_id = objects.fb_id
)

select * from resolved
