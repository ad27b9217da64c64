with

days as (
    select * from {{ ref('int_ad_spend_days') }}
),

-- All loads count, not the newest alone: one that committed late is not missed.
months as (
    select
        account_id,
        date_trunc('month', date)::date as month,
        bool_or(has_delivery) as has_delivery,
        case
            when count(*) filter (where has_delivery and loaded_at is null) = 0
                then md5(
                    string_agg(
                        concat_ws(' ', date, has_delivery, extract(epoch from loaded_at)),
                        ', '
                        order by date
                    )
                )
        end as loads_version
    from days
    group by account_id, date_trunc('month', date)
)

select * from months
