with

described as (
    {{ newest_description(ref('stg_meta__ads'), 'fb_ad_id') }}
),

ads_seen as (
    select * from {{ ref('int_ads_seen_by_month') }}
),

accounts as (
    select * from {{ ref('int_ad_accounts') }}
),

-- What Meta has not described, as the newest insight names it.
inferred as (
    select distinct on (fb_ad_id)
        fb_ad_id,
        fb_adset_id,
        fb_campaign_id,
        account_id,
        ad_name,
        {{ midnight('min(first_date) over (partition by fb_ad_id)') }} as created_at,
        {{ midnight('last_date') }} as updated_at
    from ads_seen
    where fb_ad_id not in (select described.fb_ad_id from described)
    order by fb_ad_id asc, last_date desc
),

unioned as (
    select
        fb_ad_id,
        fb_adset_id,
        fb_campaign_id,
        account_id,
        ad_name,
        status,
        effective_status,
        creative_id,
        creative,
        false as is_inferred,
        created_at,
        updated_at
    from described
    union all
    select
        fb_ad_id,
        fb_adset_id,
        fb_campaign_id,
        account_id,
        ad_name,
        null as status,
        null as effective_status,
        null as creative_id,
        null as creative,
        true as is_inferred,
        created_at,
        updated_at
    from inferred
),

of_brands as (
    select
        unioned.fb_ad_id,
        unioned.fb_adset_id,
        unioned.fb_campaign_id,
        unioned.account_id,
        accounts.brand_slug,
        unioned.ad_name,
        unioned.status,
        unioned.effective_status,
        unioned.creative_id,
        -- What the ad says: its title, else the name of its creative, and its text.
        nullif(
            left(
                concat_ws(
                    ' · ',
                    coalesce(
                        nullif(unioned.creative ->> 'title', ''),
                        nullif(unioned.creative ->> 'name', '')
                    ),
                    nullif(unioned.creative ->> 'body', '')
                ),
                200
            ),
            ''
        ) as creative_summary,
        accounts.time_zone,
        unioned.is_inferred,
        unioned.created_at,
        unioned.updated_at
    from unioned
    left join accounts on unioned.account_id = accounts.account_id
)

select * from of_brands
