-- Days and models on which the performance marts hold other revenue or spend than credits and
-- `ad_spend` do: of the newest week of spend, and of the 7 newest days with purchases. They are
-- queried beforehand: only constants find their way into a view.
{%- set asked %}
    (
        select distinct transacted_at::date as date
        from {{ ref('int_purchases') }}
        where not is_gone
        order by date desc
        limit 7
    )
    union
    select (select max(date) from {{ ref('ad_spend') }}) - generate_series(0, 6)
{%- endset %}
{%- set days = dates_of(asked) %}
with

credits as (
    select * from {{ ref('ad_attribution_credits') }}
),

ad_spend as (
    select * from {{ ref('ad_spend') }}
),

ad_performance as (
    select * from {{ ref('ad_performance') }}
),

campaign_performance as (
    select * from {{ ref('campaign_performance') }}
),

sums as (
    select
        'credits' as origin,
        date,
        model,
        currency,
        sum(attributed_value) as attributed_value,
        0 as spend
    from credits
    where date in {{ days }}
    group by date, model, currency
    union all
    select
        'credits' as origin,
        ad_spend.date,
        models.model,
        ad_spend.currency,
        0 as attributed_value,
        sum(ad_spend.spend) as spend
    from ad_spend
    cross join {{ model_rows() }} as models (model)
    where ad_spend.date in {{ days }}
    group by ad_spend.date, models.model, ad_spend.currency
    union all
    select
        'ads' as origin,
        date,
        model,
        currency,
        sum(attributed_value) as attributed_value,
        sum(spend) as spend
    from ad_performance
    where date in {{ days }}
    group by date, model, currency
    union all
    select
        'campaigns' as origin,
        date,
        model,
        currency,
        sum(attributed_value) as attributed_value,
        sum(spend) as spend
    from campaign_performance
    where date in {{ days }}
    group by date, model, currency
),

compared as (
    select
        date,
        model,
        currency,
        coalesce(sum(attributed_value) filter (where origin = 'credits'), 0) as credited,
        coalesce(sum(attributed_value) filter (where origin = 'ads'), 0) as of_ads,
        coalesce(sum(attributed_value) filter (where origin = 'campaigns'), 0) as of_campaigns,
        coalesce(sum(spend) filter (where origin = 'credits'), 0) as spend,
        coalesce(sum(spend) filter (where origin = 'ads'), 0) as spend_of_ads,
        coalesce(sum(spend) filter (where origin = 'campaigns'), 0) as spend_of_campaigns
    from sums
    group by date, model, currency
),

differing as (
    select * from compared
    where
        (credited, credited, spend, spend)
        is distinct from (of_ads, of_campaigns, spend_of_ads, spend_of_campaigns)
)

select * from differing
