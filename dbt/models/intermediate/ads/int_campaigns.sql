with

described as (
    {{ newest_description(ref('stg_meta__campaigns'), 'fb_campaign_id') }}
),

ads_seen as (
    select * from {{ ref('int_ads_seen_by_month') }}
),

adsets as (
    select * from {{ ref('stg_meta__adsets') }}
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
        fb_campaign_id,
        account_id,
        campaign_name,
        {{ midnight('min(first_date) over (partition by fb_campaign_id)') }} as created_at,
        {{ midnight('last_date') }} as updated_at,
        1 as precedence,
        fb_ad_id
    from ads_seen
    {%- for children in ['adsets', 'ads'] %}
    union all
    select
        fb_campaign_id,
        min(account_id) as account_id,
        null as campaign_name,
        min(created_at) as created_at,
        max(updated_at) as updated_at,
        {{ loop.index + 1 }} as precedence,
        null as fb_ad_id
    from {{ children }}
    group by fb_campaign_id
    {%- endfor %}
),

-- What Meta has not described: as the newest insight names it, else as its ad sets or ads do.
inferred as (
    select distinct on (fb_campaign_id) *
    from named_elsewhere
    where
        fb_campaign_id is not null
        and fb_campaign_id not in (select described.fb_campaign_id from described)
    order by fb_campaign_id asc, precedence asc, updated_at desc, fb_ad_id asc
),

unioned as (
    select
        fb_campaign_id,
        account_id,
        campaign_name,
        objective,
        status,
        effective_status,
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
        fb_campaign_id,
        account_id,
        campaign_name,
        null as objective,
        null as status,
        null as effective_status,
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
        unioned.fb_campaign_id,
        unioned.account_id,
        accounts.brand_slug,
        unioned.campaign_name,
        unioned.objective,
        unioned.status,
        unioned.effective_status,
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
