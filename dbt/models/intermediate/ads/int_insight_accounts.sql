{#-
    Each account that has ad insights, found by stepping from one to the next in the primary key:
    the cost does not grow with the history.
-#}
with recursive

insights as (
    select * from {{ ref('stg_meta__ad_insights') }}
),

accounts as (
    select min(account_id) as account_id
    from insights
    union all
    select (
        select min(insights.account_id)
        from insights
        where insights.account_id > accounts.account_id
    ) as account_id
    from accounts
    where accounts.account_id is not null
),

spans as (
    select
        accounts.account_id,
        (
            select min(insights.date)
            from insights
            where insights.account_id = accounts.account_id
        ) as first_date,
        (
            select max(insights.date)
            from insights
            where insights.account_id = accounts.account_id
        ) as last_date
    from accounts
    where accounts.account_id is not null
),

described as (
    select
        spans.account_id,
        newest.account_name,
        newest.currency,
        spans.first_date,
        spans.last_date
    from spans
    cross join lateral (
        select
            insights.account_name,
            insights.currency
        from insights
        where insights.account_id = spans.account_id and insights.date = spans.last_date
        order by insights.fb_ad_id
        limit 1
    ) as newest
)

select * from described
