with

described as (
    {{ newest_description(ref('stg_meta__adsets'), 'fb_adset_id') }}
),

ads_seen as (
    select * from {{ ref('int_ads_seen_by_month') }}
),

ads as (
    select * from {{ ref('stg_meta__ads') }}
),

accounts as (
    select * from {{ ref('int_ad_accounts') }}
),

currency_offsets as (
    select * from {{ ref('meta_currency_offsets') }}
),

named_elsewhere as (
    select
        fb_adset_id,
        fb_campaign_id,
        account_id,
        adset_name,
        {{ midnight('min(first_date) over (partition by fb_adset_id)') }} as created_at,
        {{ midnight('last_date') }} as updated_at,
        1 as precedence,
        fb_ad_id
    from ads_seen
    union all
    select
        fb_adset_id,
        min(fb_campaign_id) as fb_campaign_id,
        min(account_id) as account_id,
        null as adset_name,
        min(created_at) as created_at,
        max(updated_at) as updated_at,
        2 as precedence,
        null as fb_ad_id
    from ads
    group by fb_adset_id
),

-- What Meta has not described: as the newest insight names it, else as its ads do.
inferred as (
    select distinct on (fb_adset_id) *
    from named_elsewhere
    where
        fb_adset_id is not null
        and fb_adset_id not in (select described.fb_adset_id from described)
    order by fb_adset_id asc, precedence asc, updated_at desc, fb_ad_id asc
),

unioned as (
    select
        fb_adset_id,
        fb_campaign_id,
        account_id,
        adset_name,
        status,
        effective_status,
        optimization_goal,
        targeting,
        daily_budget_minor,
        lifetime_budget_minor,
        false as is_inferred,
        start_time,
        stop_time,
        created_at,
        updated_at
    from described
    union all
    select
        fb_adset_id,
        fb_campaign_id,
        account_id,
        adset_name,
        null as status,
        null as effective_status,
        null as optimization_goal,
        null as targeting,
        null as daily_budget_minor,
        null as lifetime_budget_minor,
        true as is_inferred,
        null as start_time,
        null as stop_time,
        created_at,
        updated_at
    from inferred
),

of_brands as (
    select
        unioned.fb_adset_id,
        unioned.fb_campaign_id,
        unioned.account_id,
        accounts.brand_slug,
        unioned.adset_name,
        unioned.status,
        unioned.effective_status,
        unioned.optimization_goal,
        {{ targeting_summary('unioned.targeting') }} as targeting_summary,
        accounts.currency,
        {{ major_units('unioned.daily_budget_minor') }} as daily_budget,
        {{ major_units('unioned.lifetime_budget_minor') }} as lifetime_budget,
        accounts.time_zone,
        unioned.is_inferred,
        unioned.start_time,
        unioned.stop_time,
        unioned.created_at,
        unioned.updated_at
    from unioned
    left join accounts on unioned.account_id = accounts.account_id
    left join currency_offsets on accounts.currency = currency_offsets.currency
)

select * from of_brands
