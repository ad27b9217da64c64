with

accounts as (
    select * from {{ ref('int_ad_accounts') }}
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

exchange_rates as (
    select * from {{ ref('int_exchange_rates_daily') }}
),

restatements as (
    select
        account_id,
        date,
        count(*)::integer as restatement_count,
        max(restated_at) as last_restated_at
    from {{ ref('stg_tributary__restatements') }}
    where report = 'ad_insights'
    group by account_id, date
),

account_days as (
    select
        account_id,
        date
    from loads
    union
    select
        account_id,
        date
    from account_insights
),

-- One row of each day is read: all rows of an account's day have the same currency.
delivered as (
    select
        account_days.account_id,
        account_days.date,
        accounts.brand_slug,
        accounts.reporting_currency,
        accounts.time_zone,
        coalesce(delivery.currency, accounts.currency) as currency,
        delivery.account_id is not null as has_delivery
    from account_days
    inner join accounts on account_days.account_id = accounts.account_id
    left join lateral (
        select
            insights.account_id,
            insights.currency
        from insights
        where
            insights.account_id = account_days.account_id
            and insights.date = account_days.date
        order by insights.date
        limit 1
    ) as delivery on true
),

priced as (
    select
        delivered.account_id,
        delivered.brand_slug,
        delivered.currency,
        delivered.reporting_currency,
        delivered.time_zone,
        loads.load_status,
        case
            when delivered.currency = delivered.reporting_currency then 1
            else exchange_rates.rate
        end as exchange_rate,
        coalesce(restatements.restatement_count, 0) as restatement_count,
        delivered.has_delivery,
        delivered.date,
        exchange_rates.rate_date as exchange_rate_date,
        loads.loaded_at,
        restatements.last_restated_at
    from delivered
    left join loads
        on
            delivered.account_id = loads.account_id
            and delivered.date = loads.date
    left join restatements
        on
            delivered.account_id = restatements.account_id
            and delivered.date = restatements.date
    left join exchange_rates
        on
            delivered.currency = exchange_rates.base
            and delivered.reporting_currency = exchange_rates.quote
            and delivered.date = exchange_rates.date
)

select * from priced
