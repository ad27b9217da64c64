{{
    config(
        indexes=[
            {'columns': ['id'], 'unique': true},
            {'columns': ['fb_adset_id'], 'unique': true},
            {'columns': ['campaign_id']},
            {'columns': ['account_id']},
        ],
    )
}}

with

adsets as (
    select * from {{ ref('int_adsets_budgeted') }}
),

adsets_seen as (
    select * from {{ ref('int_adsets_seen') }}
),

accounts as (
    select * from {{ ref('int_ad_accounts') }}
),

members as (
    select
        {{ meta_key('adset', 'fb_adset_id') }} as id,
        {{ meta_key('campaign', 'fb_campaign_id') }} as campaign_id,
        fb_adset_id,
        fb_campaign_id,
        account_id,
        brand_slug,
        adset_name as name,
        status,
        effective_status,
        optimization_goal,
        {{ targeting_summary('targeting') }} as targeting_summary,
        currency,
        daily_budget,
        lifetime_budget,
        false as is_inferred,
        start_time,
        stop_time,
        created_at,
        updated_at
    from adsets
),

inferred as (
    select
        {{ meta_key('adset', 'adsets_seen.fb_adset_id') }} as id,
        {{ meta_key('campaign', 'adsets_seen.fb_campaign_id') }} as campaign_id,
        adsets_seen.fb_adset_id,
        adsets_seen.fb_campaign_id,
        adsets_seen.account_id,
        accounts.brand_slug,
        adsets_seen.adset_name as name,
        null::text as status,
        null::text as effective_status,
        null::text as optimization_goal,
        null::text as targeting_summary,
        accounts.currency,
        null::numeric as daily_budget,
        null::numeric as lifetime_budget,
        true as is_inferred,
        null::timestamptz as start_time,
        null::timestamptz as stop_time,
        adsets_seen.first_seen_at as created_at,
        adsets_seen.last_seen_at as updated_at
    from adsets_seen
    left join accounts on adsets_seen.account_id = accounts.account_id
    where not exists (
        select 1 from adsets
        where adsets.fb_adset_id = adsets_seen.fb_adset_id
    )
),

unknown as (
    select
        {{ meta_unknown_key('adset') }} as id,
        {{ meta_unknown_key('campaign') }} as campaign_id,
        null::text as fb_adset_id,
        null::text as fb_campaign_id,
        null::text as account_id,
        null::text as brand_slug,
        '(unknown)' as name,
        null::text as status,
        null::text as effective_status,
        null::text as optimization_goal,
        null::text as targeting_summary,
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
