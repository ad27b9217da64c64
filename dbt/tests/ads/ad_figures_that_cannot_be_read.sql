-- Rows of raw with a figure that is no number: the marts count it as 0.
{{ config(severity='warn') }}

with

days as (
    select * from {{ ref('int_ad_days_to_check') }}
),

insights as (
    select * from {{ source('meta', 'meta_ad_insights') }}
    where {{ of_days('select * from days') }}
),

figures as (
    select
        insights.account_id,
        insights.date,
        insights.ad_id,
        figures.name,
        figures.said
    from insights
    cross join
        lateral (
            values
            ('spend', insights.payload ->> 'spend', 30),
            ('impressions', insights.payload ->> 'impressions', 15),
            ('clicks', insights.payload ->> 'clicks', 15),
            ('inline_link_clicks', insights.payload ->> 'inline_link_clicks', 15)
        ) as figures (name, said, characters)
    where
        figures.said is not null
        and {{ number_or_null('figures.said', 'figures.characters') }} is null
)

select * from figures
