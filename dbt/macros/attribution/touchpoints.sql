{#-
    Touches of the site and of contacts (what a webhook or the API learnt of a click), each with the
    person behind its profile.

    Args:
        profiles: relation of (brand_slug, profile_id); only their touches, when given. A mart that
            computes a few people reads no more than it needs.
-#}
{% macro touchpoints(profiles=none) %}
    select
        visits.touchpoint_id,
        visits.brand_slug,
        visits.profile_id,
        coalesce(people.person_id, visits.profile_id) as person_id,
        visits.utm_source,
        visits.utm_medium,
        visits.utm_campaign,
        visits.utm_content,
        visits.utm_term,
        case when visits.ad_id ~ '^\d+$' then visits.ad_id end as ad_id,
        visits.ad_id is not null and visits.ad_id !~ '^\d+$' as has_malformed_ad_id,
        visits.fb_click_id,
        visits.gclid,
        coalesce(
            visits.fb_click_id, visits.gclid, visits.gbraid, visits.wbraid
        ) as click_id,
        coalesce(visits.gclid, visits.gbraid, visits.wbraid) is not null as has_google_click,
        visits.touched_at
    from (
        select
            touchpoint_id, brand_slug, profile_id, utm_source, utm_medium, utm_campaign,
            utm_content, utm_term, ad_id, fb_click_id, gclid, gbraid, wbraid, touched_at
        from {{ ref('stg_app__touchpoints') }}
        union all
        select
            touchpoint_id, brand_slug, contact_id, null, null, null,
            null, null, ad_id, fb_click_id, gclid, null, null, touched_at
        from {{ ref('int_contact_touches') }}
    ) as visits
    left join (select * from {{ ref('int_people') }}) as people
        on visits.brand_slug = people.brand_slug and visits.profile_id = people.profile_id
    {%- if profiles %}
    where (visits.brand_slug, visits.profile_id) in (
        select
            brand_slug,
            profile_id
        from {{ profiles }}
    )
    {%- endif %}
{% endmacro %}


{#-
    The ad of each touch, by the first of these that says something:

    1. an ad id: in `ad_id` (any number), in `utm_content` (one that we know), or captured by a
       webhook for the same click;
    2. an id of an ad set or campaign in utm fields;
    3. a gclid that `raw.google_click_view` knows;
    4. names in utm fields that held for exactly one ad, ad set or campaign of the brand when the
       touch happened; asked only where something points to Meta;
    5. a click id or the source alone: the platform is known, the ad is not.

    Args:
        touches: relation with the columns of `touchpoints()`.
-#}
{% macro touchpoints_resolved(touches) %}
    select
        touchpoint_id,
        brand_slug,
        profile_id,
        person_id,
        source_platform,
        fb_campaign_id,
        fb_adset_id,
        fb_ad_id,
        google_campaign_id,
        google_ad_group_id,
        google_ad_id,
        account_id,
        account_time_zone,
        match_method,
        case
            when coalesce(fb_campaign_id, fb_ad_id, google_campaign_id) is not null then null
            when match_method = 'gclid' then 'gclid_not_in_click_view'
            when match_method = 'google_click_id' then 'google_click_without_gclid'
            when is_ambiguous then 'name_ambiguous'
            when has_malformed_ad_id then 'ad_id_malformed'
            when may_be_meta and has_names then 'name_not_found'
            when match_method = 'fbclid' then 'click_id_alone'
            when source_platform is not null or is_paid then 'no_ad_named'
            else 'not_an_ad'
        end as unresolved_reason,
        utm_source,
        utm_medium,
        fb_click_id,
        click_id,
        is_view,
        is_paid,
        touched_at
    from (
        select
            touch.touchpoint_id,
            touch.brand_slug,
            touch.profile_id,
            touch.person_id,
            touch.utm_source,
            touch.utm_medium,
            touch.fb_click_id,
            touch.click_id,
            touch.is_view,
            touch.touched_at,
            touch.may_be_meta,
            touch.has_malformed_ad_id,
            coalesce(touch.utm_campaign, touch.utm_term, touch.utm_content) is not null
                as has_names,
            case
                when found.fb_campaign_id is not null or found.fb_ad_id is not null then 'meta'
                when found.google_campaign_id is not null then 'google'
                when touch.fb_click_id is not null then 'meta'
                when touch.has_google_click then 'google'
                when touch.utm_source in {{ sql_list(attribution_setting('meta_sources')) }}
                    then 'meta'
                when touch.utm_source in {{ sql_list(attribution_setting('google_sources')) }}
                    then 'google'
            end as source_platform,
            found.match_method,
            found.fb_ad_id,
            coalesce(by_id.fb_adset_id, found.fb_adset_id) as fb_adset_id,
            coalesce(by_id.fb_campaign_id, found.fb_campaign_id) as fb_campaign_id,
            found.google_campaign_id,
            found.google_ad_group_id,
            found.google_ad_id,
            coalesce(by_id.account_id, found.account_id) as account_id,
            coalesce(by_id.time_zone, found.time_zone) as account_time_zone,
            found.is_ambiguous,
            touch.is_paid_medium
            or touch.has_google_click
            or found.match_method in ('ad_id', 'utm_ad_id', 'contact_ad_id') as is_paid
        from (
            select
                *,
                coalesce(
                    utm_medium in {{ sql_list(attribution_setting('paid_mediums')) }}, false
                ) as is_paid_medium,
                coalesce(
                    utm_medium in {{ sql_list(attribution_setting('view_mediums')) }}, false
                ) as is_view,
                coalesce(
                    utm_source in {{ sql_list(attribution_setting('meta_sources')) }}
                    or fb_click_id is not null
                    or (
                        utm_source is null
                        and utm_medium in {{ sql_list(attribution_setting('paid_mediums')) }}
                    ),
                    false
                ) and not has_google_click as may_be_meta
            from {{ touches }}
        ) as touch
        left join (select * from {{ ref('int_ad_objects') }}) as by_id on touch.ad_id = by_id.fb_ad_id
            and by_id.kind = 'ad'
        left join (select * from {{ ref('int_ad_objects') }}) as by_content on touch.utm_content = by_content.fb_id
        left join (select * from {{ ref('int_ad_objects') }}) as by_term on touch.utm_term = by_term.fb_id
        left join (select * from {{ ref('int_ad_objects') }}) as by_campaign on touch.utm_campaign = by_campaign.fb_id
        left join (select * from {{ ref('int_contact_ads') }}) as by_contact
            on touch.brand_slug = by_contact.brand_slug and touch.click_id = by_contact.click_id
        left join (select * from {{ ref('int_google_clicks') }}) as by_gclid on touch.gclid = by_gclid.gclid
        {%- for alias, campaign, adset, ad in [
            ('by_full_name', true, true, true), ('by_ad_name', true, false, true),
            ('by_adset_name', true, true, false), ('by_campaign_name', true, false, false),
        ] %}
        left join (select * from {{ ref('int_ad_names') }}) as {{ alias }}
            on touch.brand_slug = {{ alias }}.brand_slug
            and case
                when touch.may_be_meta
                {%- if adset %} and touch.utm_term is not null{% endif %}
                {%- if ad %} and touch.utm_content is not null{% endif %}
                {%- if not adset and not ad %} and touch.utm_campaign is not null{% endif %}
                    then {{ name_key(
                        'touch.utm_campaign',
                        'touch.utm_term' if adset else none,
                        'touch.utm_content' if ad else none,
                    ) }}
            end = {{ alias }}.name_key
            and touch.touched_at >= {{ alias }}.valid_from
            and touch.touched_at < {{ alias }}.valid_to
        {%- endfor %}
        cross join lateral (
            select
                case
                    when touch.ad_id is not null then 'ad_id'
                    when by_content.kind = 'ad' then 'utm_ad_id'
                    when by_contact.fb_ad_id is not null then 'contact_ad_id'
                    when 'adset' in (by_content.kind, by_term.kind, by_campaign.kind)
                        then 'adset_id'
                    when 'campaign' in (by_content.kind, by_term.kind, by_campaign.kind)
                        then 'campaign_id'
                    when touch.gclid is not null then 'gclid'
                    when by_full_name.fb_id is not null or by_ad_name.fb_id is not null
                        then 'ad_name'
                    when by_adset_name.fb_id is not null then 'adset_name'
                    when by_campaign_name.fb_id is not null then 'campaign_name'
                    when touch.fb_click_id is not null then 'fbclid'
                    when touch.has_google_click then 'google_click_id'
                    when
                        touch.utm_source in {{ sql_list(
                            attribution_setting('meta_sources')
                            + attribution_setting('google_sources')
                        ) }}
                        then 'utm_source'
                end as method
        ) as chosen
        cross join lateral (
            select
                chosen.method as match_method,
                case chosen.method
                    when 'ad_id' then touch.ad_id
                    when 'utm_ad_id' then by_content.fb_ad_id
                    when 'contact_ad_id' then by_contact.fb_ad_id
                    when 'ad_name' then coalesce(by_full_name.fb_ad_id, by_ad_name.fb_ad_id)
                end as fb_ad_id,
                {%- for column in ['fb_adset_id', 'fb_campaign_id', 'account_id', 'time_zone'] %}
                case chosen.method
                    when 'utm_ad_id' then by_content.{{ column }}
                    when 'contact_ad_id' then by_contact.{{ column }}
                    {%- for kind in ['adset', 'campaign'] %}
                    when '{{ kind }}_id'
                        then case
                            when by_content.kind = '{{ kind }}' then by_content.{{ column }}
                            when by_term.kind = '{{ kind }}' then by_term.{{ column }}
                            else by_campaign.{{ column }}
                        end
                    {%- endfor %}
                    when 'ad_name'
                        then case
                            when by_full_name.fb_id is not null then by_full_name.{{ column }}
                            else by_ad_name.{{ column }}
                        end
                    when 'adset_name' then by_adset_name.{{ column }}
                    when 'campaign_name' then by_campaign_name.{{ column }}
                end as {{ column }},
                {%- endfor %}
                case when chosen.method = 'gclid' then by_gclid.google_campaign_id end
                    as google_campaign_id,
                case when chosen.method = 'gclid' then by_gclid.google_ad_group_id end
                    as google_ad_group_id,
                case when chosen.method = 'gclid' then by_gclid.google_ad_id end as google_ad_id,
                coalesce(
                    by_full_name.is_ambiguous
                    or by_ad_name.is_ambiguous
                    or by_adset_name.is_ambiguous
                    or by_campaign_name.is_ambiguous,
                    false
                ) as is_ambiguous
        ) as found
    ) as matched
{% endmacro %}


{#- By what names are looked up: campaign, ad set and ad, each or not, whatever their case. -#}
{% macro name_key(campaign, adset, ad) -%}
    lower(
        coalesce({{ campaign or 'null' }}, '') || chr(31)
        || coalesce({{ adset or 'null' }}, '') || chr(31)
        || coalesce({{ ad or 'null' }}, '')
    )
{%- endmacro %}
