{#-
    What names in a URL stood for, and when: spans of time in which a key (names of campaign, ad
    set and ad, each given or left out) stood for one object, or for several. An object's names
    count from its creation on, so that a new campaign of an old name does not blur the past.
-#}
with

ad_objects as (
    select * from {{ ref('int_ad_objects') }}
    where brand_slug is not null
),

history as (
    select * from {{ ref('int_ad_names_history') }}
),

-- Objects that Meta has not described have one name: the newest that insights gave them.
named as (
    select
        ad_objects.kind,
        ad_objects.fb_id,
        coalesce(history.object_name, ad_objects.object_name) as object_name,
        greatest(
            coalesce(history.valid_from, '-infinity'),
            coalesce(ad_objects.created_at, '-infinity')
        ) as valid_from,
        coalesce(history.valid_to, 'infinity') as valid_to
    from ad_objects
    left join history
        on ad_objects.fb_id = history.fb_id and ad_objects.kind = history.object_type
),

chains as (
    select
        ad_objects.*,
        coalesce(campaigns.object_name, '') as campaign_name,
        coalesce(adsets.object_name, '') as adset_name,
        coalesce(ads.object_name, '') as ad_name,
        greatest(campaigns.valid_from, adsets.valid_from, ads.valid_from) as valid_from,
        least(campaigns.valid_to, adsets.valid_to, ads.valid_to) as valid_to
    from ad_objects
    left join named as campaigns
        on ad_objects.fb_campaign_id = campaigns.fb_id and campaigns.kind = 'campaign'
    left join named as adsets
        on ad_objects.fb_adset_id = adsets.fb_id and adsets.kind = 'adset'
    left join named as ads
        on ad_objects.fb_ad_id = ads.fb_id and ads.kind = 'ad'
),

entries as (
    select
        chains.*,
        keys.name_key
    from chains
    cross join
        lateral (
            values
            {%- for kind, campaign, adset, ad in [
                ('ad', true, true, true), ('ad', false, true, true), ('ad', true, false, true),
                ('ad', false, false, true), ('adset', true, true, false),
                ('adset', false, true, false), ('campaign', true, false, false),
            ] %}
            (
                '{{ kind }}',
                {{ name_key(
                    'chains.brand_slug',
                    'chains.campaign_name' if campaign else none,
                    'chains.adset_name' if adset else none,
                    'chains.ad_name' if ad else none,
                ) }}
            ){{ ',' if not loop.last }}
            {%- endfor %}
        ) as keys (kind, name_key)
    where
        keys.kind = chains.kind
        and chains.valid_from < chains.valid_to
        and case chains.kind
            when 'ad' then chains.ad_name
            when 'adset' then chains.adset_name
            else chains.campaign_name
        end <> ''
),

moments as (
    select
        name_key,
        valid_from as moment
    from entries
    union
    select
        name_key,
        valid_to as moment
    from entries
),

spans as (
    select
        name_key,
        moment as valid_from,
        lead(moment) over (partition by name_key order by moment) as valid_to
    from moments
),

counted as (
    select
        spans.name_key,
        spans.valid_from,
        spans.valid_to,
        min(entries.fb_id) as first_id,
        max(entries.fb_id) as last_id
    from spans
    inner join entries
        on
            spans.name_key = entries.name_key
            and spans.valid_from >= entries.valid_from
            and spans.valid_to <= entries.valid_to
    group by spans.name_key, spans.valid_from, spans.valid_to
),

resolved as (
    select
        name_key,
        case when first_id = last_id then first_id end as fb_id,
        first_id <> last_id as is_ambiguous,
        valid_from,
        valid_to
    from counted
)

select * from resolved
