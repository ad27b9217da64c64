{#-
    Each account that has ad insights, found by stepping from one to the next in the primary key:
    the cost does not grow with the history.
-#}
with recursive

-- Not materialised: each look-up goes through the index.
insights as not materialized (
    select * from {{ ref('stg_meta__ad_insights') }}
),

accounts as (
    (
        select insights.account_id
        from insights
        order by insights.account_id
        limit 1
    )
    union all
    select successor.account_id
    from accounts
    cross join lateral (
        select insights.account_id
        from insights
        where insights.account_id > accounts.account_id
        order by insights.account_id
        limit 1
    ) as successor
),

begun as (
    select
        accounts.account_id,
        oldest.first_date
    from accounts
    cross join lateral (
        select insights.date as first_date
        from insights
        where insights.account_id = accounts.account_id
        order by insights.date
        limit 1
    ) as oldest
),

-- All rows of an account's day have the same name and currency: any of them will do.
described as (
    select
        begun.account_id,
        newest.account_name,
        newest.currency,
        begun.first_date,
        newest.last_date
    from begun
    cross join lateral (
        select
            insights.account_name,
            insights.currency,
            insights.date as last_date
        from insights
        where insights.account_id = begun.account_id
        order by insights.date desc
        limit 1
    ) as newest
)

select * from described
