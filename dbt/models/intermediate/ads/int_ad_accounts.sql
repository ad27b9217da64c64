with

account_objects as (
    {{ newest_description(ref('stg_meta__ad_accounts'), 'account_id') }}
),

insights as (
    select * from {{ ref('stg_meta__ad_insights') }}
),

account_insights as (
    select * from {{ ref('stg_meta__account_insights') }}
),

loads as (
    select * from {{ ref('stg_tributary__loads') }}
    where report = 'ad_insights'
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
    select account_id from account_insights
    union
    select account_id from loads
    union
    select account_id from configured
),

-- The newest insight says what an account that Meta has not described is called.
joined as (
    select
        account_ids.account_id,
        coalesce(account_objects.account_name, newest_insights.account_name) as account_name,
        brands.brand_slug,
        coalesce(account_objects.currency, newest_insights.currency) as currency,
        upper(brands.reporting_currency) as reporting_currency,
        account_objects.time_zone,
        account_objects.account_id is null as is_inferred
    from account_ids
    left join account_objects on account_ids.account_id = account_objects.account_id
    left join lateral (
        select
            insights.account_name,
            insights.currency
        from insights
        where insights.account_id = account_ids.account_id
        order by insights.date desc
        limit 1
    ) as newest_insights on true
    left join configured on account_ids.account_id = configured.account_id
    left join brands on configured.brand_id = brands.brand_id
)

select * from joined
