with

adsets as (
    select distinct on (fb_adset_id) *
    from {{ ref('stg_meta__adsets') }}
    order by fb_adset_id asc, extracted_at desc
),

accounts as (
    select * from {{ ref('int_ad_accounts') }}
),

currency_offsets as (
    select * from {{ ref('meta_currency_offsets') }}
),

budgeted as (
    select
        adsets.fb_adset_id,
        adsets.fb_campaign_id,
        adsets.account_id,
        accounts.brand_slug,
        adsets.adset_name,
        adsets.status,
        adsets.effective_status,
        adsets.optimization_goal,
        adsets.targeting,
        accounts.currency,
        {{ major_units('adsets.daily_budget_minor') }} as daily_budget,
        {{ major_units('adsets.lifetime_budget_minor') }} as lifetime_budget,
        adsets.start_time,
        adsets.stop_time,
        adsets.created_at,
        adsets.updated_at
    from adsets
    left join accounts on adsets.account_id = accounts.account_id
    left join currency_offsets on accounts.currency = currency_offsets.currency
)

select * from budgeted
