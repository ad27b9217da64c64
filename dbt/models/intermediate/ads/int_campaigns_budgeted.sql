with

campaigns as (
    select distinct on (fb_campaign_id) *
    from {{ ref('stg_meta__campaigns') }}
    order by fb_campaign_id asc, extracted_at desc
),

accounts as (
    select * from {{ ref('int_ad_accounts') }}
),

currency_offsets as (
    select * from {{ ref('meta_currency_offsets') }}
),

budgeted as (
    select
        campaigns.fb_campaign_id,
        campaigns.account_id,
        accounts.brand_slug,
        campaigns.campaign_name,
        campaigns.objective,
        campaigns.status,
        campaigns.effective_status,
        accounts.currency,
        {{ major_units('campaigns.daily_budget_minor') }} as daily_budget,
        {{ major_units('campaigns.lifetime_budget_minor') }} as lifetime_budget,
        campaigns.start_time,
        campaigns.stop_time,
        campaigns.created_at,
        campaigns.updated_at
    from campaigns
    left join accounts on campaigns.account_id = accounts.account_id
    left join currency_offsets on accounts.currency = currency_offsets.currency
)

select * from budgeted
