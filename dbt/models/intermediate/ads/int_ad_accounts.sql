with

account_objects as (
    select distinct on (account_id) *
    from {{ ref('stg_meta__ad_accounts') }}
    order by account_id asc, extracted_at desc
),

insight_accounts as (
    select * from {{ ref('int_insight_accounts') }}
),

configured as (
    select * from {{ ref('stg_tributary__ad_accounts') }}
    where platform = 'meta'
),

brands as (
    select * from {{ ref('stg_tributary__brands') }}
),

account_ids as (
    select account_id from account_objects
    union
    select account_id from insight_accounts
    union
    select account_id from configured
),

joined as (
    select
        account_ids.account_id,
        coalesce(account_objects.account_name, insight_accounts.account_name) as account_name,
        brands.brand_slug,
        coalesce(account_objects.currency, insight_accounts.currency) as currency,
        upper(brands.reporting_currency) as reporting_currency,
        account_objects.time_zone,
        account_objects.account_id is null as is_inferred,
        insight_accounts.first_date as first_insight_date,
        insight_accounts.last_date as last_insight_date
    from account_ids
    left join account_objects on account_ids.account_id = account_objects.account_id
    left join insight_accounts on account_ids.account_id = insight_accounts.account_id
    left join configured on account_ids.account_id = configured.account_id
    left join brands on configured.brand_id = brands.brand_id
)

select * from joined
