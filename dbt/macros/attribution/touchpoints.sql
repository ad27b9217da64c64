{#- One number for what the URL of a visit names, of the columns of `app.touchpoints` as they are. -#}
{% macro url_hash() -%}
    hash_record_extended(row(brand_slug, ad_id, utm_campaign, utm_term, utm_content), 0)
{%- endmacro %}


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
        {{ of_profiles('profile_id', profiles) }}
        union all
        select
            touchpoint_id, brand_slug, contact_id, null, null, null,
            null, null, ad_id, fb_click_id, gclid, null, null, touched_at
        from {{ ref('int_contact_touches') }}
        {{ of_profiles('contact_id', profiles) }}
    ) as visits
    left join (select * from {{ ref('int_people') }}) as people
        on visits.brand_slug = people.brand_slug and visits.profile_id = people.profile_id
{% endmacro %}


{#- All profiles of the people who made some purchases. -#}
{% macro profiles_of(purchases) %}
    select
        purchases.brand_slug,
        coalesce(people.profile_id, purchases.person_id) as profile_id
    from {{ purchases }} as purchases
    left join {{ ref('int_people') }} as people
        on
            purchases.brand_slug = people.brand_slug
            and purchases.person_id = people.person_id
    where purchases.person_id is not null
{% endmacro %}


{#- Asked of each source of touches alone: so Postgres cleans no touch that is not wanted. -#}
{% macro of_profiles(column, profiles) -%}
    {% if profiles -%}
    where (brand_slug, {{ column }}) in (
        select
            wanted.brand_slug,
            wanted.profile_id
        from {{ profiles }} as wanted
    )
    {%- endif %}
{%- endmacro %}


{#-
    The ad of each touch, by the first of these that says something:

    1. an ad id: in `ad_id` (any number), in `utm_content` (one that we know), or reported by a
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
    {%- set names = [
        ('full_name', true, true), ('ad_name', false, true), ('adset_name', true, false),
        ('campaign_name', false, false),
    ] -%}
    select
        matched.touchpoint_id,
        matched.brand_slug,
        matched.profile_id,
        matched.person_id,
        case
            when objects.fb_id is not null or matched.fb_ad_id is not null then 'meta'
            when matched.google_campaign_id is not null then 'google'
            when matched.fb_click_id is not null then 'meta'
            when matched.has_google_click then 'google'
            when matched.utm_source in {{ sql_list(attribution_setting('meta_sources')) }}
                then 'meta'
            when matched.utm_source in {{ sql_list(attribution_setting('google_sources')) }}
                then 'google'
        end as source_platform,
        objects.campaign_id,
        objects.adset_id,
        objects.ad_id,
        objects.fb_campaign_id,
        objects.fb_adset_id,
        coalesce(objects.fb_ad_id, matched.fb_ad_id) as fb_ad_id,
        matched.google_campaign_id,
        matched.google_ad_group_id,
        matched.google_ad_id,
        objects.account_id,
        objects.time_zone as account_time_zone,
        matched.match_method,
        case
            when coalesce(objects.fb_id, matched.fb_ad_id, matched.google_campaign_id) is not null
                then null
            when matched.match_method = 'gclid' then 'gclid_not_in_click_view'
            when matched.match_method = 'google_click_id' then 'google_click_without_gclid'
            when matched.is_ambiguous then 'name_ambiguous'
            when matched.has_malformed_ad_id then 'ad_id_malformed'
            when matched.may_be_meta and matched.has_names then 'name_not_found'
            when matched.match_method = 'fbclid' then 'click_id_alone'
            when matched.match_method = 'utm_source' or matched.is_paid then 'no_ad_named'
            else 'not_an_ad'
        end as unresolved_reason,
        matched.utm_source,
        matched.utm_medium,
        matched.fb_click_id,
        matched.click_id,
        matched.is_view,
        matched.is_paid,
        matched.touched_at
    from (
        select
            touch.*,
            chosen.match_method,
            case chosen.match_method
                when 'ad_id' then touch.ad_id
                when 'utm_ad_id' then touch.utm_content
                when 'contact_ad_id' then by_contact.fb_ad_id
            end as fb_ad_id,
            case chosen.match_method
                when 'ad_id' then touch.ad_id
                when 'utm_ad_id' then touch.utm_content
                when 'contact_ad_id' then by_contact.fb_ad_id
                {%- for kind in ['adset', 'campaign'] %}
                when '{{ kind }}_id'
                    then case '{{ kind }}'
                        when by_content.kind then touch.utm_content
                        when by_term.kind then touch.utm_term
                        else touch.utm_campaign
                    end
                {%- endfor %}
                when 'ad_name' then coalesce(by_full_name.fb_id, by_ad_name.fb_id)
                when 'adset_name' then by_adset_name.fb_id
                when 'campaign_name' then by_campaign_name.fb_id
            end as fb_id,
            case when chosen.match_method = 'gclid' then by_gclid.google_campaign_id end
                as google_campaign_id,
            case when chosen.match_method = 'gclid' then by_gclid.google_ad_group_id end
                as google_ad_group_id,
            case when chosen.match_method = 'gclid' then by_gclid.google_ad_id end as google_ad_id,
            coalesce(
                by_full_name.is_ambiguous
                or by_ad_name.is_ambiguous
                or by_adset_name.is_ambiguous
                or by_campaign_name.is_ambiguous,
                false
            ) as is_ambiguous,
            coalesce(touch.utm_campaign, touch.utm_term, touch.utm_content) is not null
                as has_names,
            touch.is_paid_medium
            or touch.has_google_click
            or coalesce(chosen.match_method in ('ad_id', 'utm_ad_id', 'contact_ad_id'), false)
                as is_paid
        from (
            select
                *,
                coalesce(
                    utm_medium in {{ sql_list(attribution_setting('paid_mediums')) }}, false
                ) as is_paid_medium,
                coalesce(
                    utm_medium in {{ sql_list(attribution_setting('view_mediums')) }}, false
                ) as is_view,
                not has_google_click and coalesce(
                    utm_source in {{ sql_list(attribution_setting('meta_sources')) }}
                    or fb_click_id is not null
                    or (
                        utm_source is null
                        and utm_medium in {{ sql_list(attribution_setting('paid_mediums')) }}
                    ),
                    false
                ) as may_be_meta
            from {{ touches }}
        ) as touch
        {%- for field in ['content', 'term', 'campaign'] %}
        left join (select * from {{ ref('int_ad_objects') }}) as by_{{ field }}
            on touch.utm_{{ field }} = by_{{ field }}.fb_id
        {%- endfor %}
        left join (select * from {{ ref('int_contact_ads') }}) as by_contact
            on
                touch.click_id = by_contact.click_id
                and touch.brand_slug = by_contact.brand_slug
        left join (select * from {{ ref('int_google_clicks') }}) as by_gclid
            on touch.gclid = by_gclid.gclid
        {%- for name, has_adset, has_ad in names %}
        left join (select * from {{ ref('int_ad_names') }}) as by_{{ name }}
            on
                case
                    when
                        touch.may_be_meta
                        {%- if has_adset %} and touch.utm_term is not null{% endif %}
                        {%- if has_ad %} and touch.utm_content is not null{% endif %}
                        {%- if not has_adset and not has_ad %}
                        and touch.utm_campaign is not null
                        {%- endif %}
                        then {{ name_key(
                            'touch.brand_slug',
                            'touch.utm_campaign',
                            'touch.utm_term' if has_adset else none,
                            'touch.utm_content' if has_ad else none,
                        ) }}
                end = by_{{ name }}.name_key
                and touch.touched_at >= by_{{ name }}.valid_from
                and touch.touched_at < by_{{ name }}.valid_to
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
                end as match_method
        ) as chosen
    ) as matched
    left join (select * from {{ ref('int_ad_objects') }}) as objects
        on matched.fb_id = objects.fb_id
{% endmacro %}


{#- By what names are looked up: brand, campaign, ad set and ad, each or not, whatever their case. -#}
{% macro name_key(brand, campaign, adset, ad) -%}
    {{ brand }} || chr(31) || lower(
        coalesce({{ campaign or 'null' }}, '') || chr(31)
        || coalesce({{ adset or 'null' }}, '') || chr(31)
        || coalesce({{ ad or 'null' }}, '')
    )
{%- endmacro %}


{#- What resolving takes from an object of the hierarchy. -#}
{% macro object_columns(alias) -%}
    {{ alias }}.kind, {{ alias }}.fb_id, {{ alias }}.fb_ad_id, {{ alias }}.fb_adset_id,
    {{ alias }}.fb_campaign_id, {{ alias }}.account_id, {{ alias }}.time_zone
{%- endmacro %}
