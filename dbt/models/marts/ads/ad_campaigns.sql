{{
    config(
        indexes=[
            {'columns': ['id'], 'unique': true},
            {'columns': ['fb_campaign_id'], 'unique': true},
            {'columns': ['account_id']},
        ],
    )
}}

with

campaigns as (
    select * from {{ ref('int_campaigns_budgeted') }}
),

campaigns_seen as (
    select * from {{ ref('int_campaigns_seen') }}
),

accounts as (
    select * from {{ ref('int_ad_accounts') }}
),

members as (
    select
        {{ meta_key('campaign', 'fb_campaign_id') }} as id,
        fb_campaign_id,
        account_id,
        brand_slug,
        campaign_name as name,
        objective,
        status,
        effective_status,
        currency,
        daily_budget,
        lifetime_budget,
        false as is_inferred,
        start_time,
        stop_time,
        created_at,
        updated_at
    from campaigns
),

inferred as (
    select
        {{ meta_key('campaign', 'campaigns_seen.fb_campaign_id') }} as id,
        campaigns_seen.fb_campaign_id,
        campaigns_seen.account_id,
        accounts.brand_slug,
        campaigns_seen.campaign_name as name,
        null::text as objective,
        null::text as status,
        null::text as effective_status,
        accounts.currency,
        null::numeric as daily_budget,
        null::numeric as lifetime_budget,
        true as is_inferred,
        null::timestamptz as start_time,
        null::timestamptz as stop_time,
        campaigns_seen.first_seen_at as created_at,
        campaigns_seen.last_seen_at as updated_at
    from campaigns_seen
    left join accounts on campaigns_seen.account_id = accounts.account_id
    where not exists (
        select 1 from campaigns
        where campaigns.fb_campaign_id = campaigns_seen.fb_campaign_id
    )
),

unknown as (
    select
        {{ meta_unknown_key('campaign') }} as id,
        null::text as fb_campaign_id,
        null::text as account_id,
        null::text as brand_slug,
        '(unknown)' as name,
        null::text as objective,
        null::text as status,
        null::text as effective_status,
        null::text as currency,
        null::numeric as daily_budget,
        null::numeric as lifetime_budget,
        true as is_inferred,
        null::timestamptz as start_time,
        null::timestamptz as stop_time,
        null::timestamptz as created_at,
        null::timestamptz as updated_at
),

unioned as (
    select * from members
    union all
    select * from inferred
    union all
    select * from unknown
)

select * from unioned
