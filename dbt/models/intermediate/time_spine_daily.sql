with

days as (
    select calendar_days.moment::date as date_day
    from generate_series(
        '2023-01-01'::timestamp, now()::timestamp + interval '1 year', interval '1 day'
    ) as calendar_days (moment)
)

select * from days
