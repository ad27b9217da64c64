{#-
    The account-days that have ad insights, found by asking for one row of each day of an account's
    span: the cost grows with the days, not with the rows. The ledger is not asked which days there
    are, so that a day that no load accounts for is found as well.
-#}
with

accounts as (
    select * from {{ ref('int_ad_accounts') }}
),

insights as (
    select * from {{ ref('stg_meta__ad_insights') }}
),

loads as (
    select * from {{ ref('stg_tributary__loads') }}
    where report = 'ad_insights'
),

exchange_rates as (
    select * from {{ ref('int_exchange_rates_daily') }}
),

restatements as (
    select * from {{ ref('int_restatements_counted') }}
),

calendar as (
    select
        accounts.account_id,
        accounts.brand_slug,
        accounts.currency,
        accounts.reporting_currency,
        accounts.time_zone,
        calendar_dates.moment::date as date
    from accounts
    cross join lateral generate_series(
        accounts.first_insight_date::timestamp,
        accounts.last_insight_date::timestamp,
        interval '1 day'
    ) as calendar_dates (moment)
),

-- All rows of an account's day have the same currency: any of them will do.
delivered as (
    select
        calendar.account_id,
        calendar.brand_slug,
        coalesce(delivery.currency, calendar.currency) as currency,
        calendar.reporting_currency,
        calendar.time_zone,
        calendar.date
    from calendar
    cross join lateral (
        select insights.currency
        from insights
        where
            insights.account_id = calendar.account_id
            and insights.date = calendar.date
        order by insights.date
        limit 1
    ) as delivery
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
        loads.account_id is not null as is_settled,
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
