{{ config(materialized='view') }}
{#-
    The credits of the purchases that are due, one row per touch and model that gives it any. Of a
    path that a model gives nothing to, the first row stays, without a touch: touch_index 0.
-#}
with

weights as (
    select * from {{ ref('int_touchpath_weights') }}
),

purchases as (
    select * from {{ ref('int_purchases_due') }}
),

touches as (
    select * from {{ ref('int_touchpoints_resolved') }}
),

by_model as (
    select
        weights.transaction_id,
        weights.brand_slug,
        weights.touch_count,
        weights.is_winner,
        weights.value,
        shares.model,
        shares.weight,
        shares.attributed_value,
        case when not shares.is_missing then weights.touch_index end as touch_index,
        case when not shares.is_missing then weights.touchpoint_id end as touchpoint_id,
        case when shares.is_missing then coalesce(weights.no_path_reason, 'no_paid_touch') end
            as missing_reason
    from weights
    cross join
        lateral (
            values
            {%- for model in attribution_setting('attribution_models') %}
            (
                '{{ model }}',
                weights.{{ model }}_weight,
                weights.{{ model }}_value,
                weights.{{ model }}_missing
            ){{ ',' if not loop.last }}
            {%- endfor %}
        ) as shares (model, weight, attributed_value, is_missing)
    where shares.weight > 0 or (shares.is_missing and weights.touch_index <= 1)
),

credits as (
    select
        by_model.transaction_id,
        by_model.brand_slug,
        by_model.model,
        coalesce(by_model.touch_index, 0) as touch_index,
        by_model.touch_count,
        coalesce(by_model.weight, 1) as weight,
        coalesce(by_model.attributed_value, by_model.value) as attributed_value,
        purchases.currency,
        purchases.reporting_currency,
        (
            purchases.transacted_at
            at time zone coalesce(touches.account_time_zone, purchases.brand_time_zone)
        )::date as date,
        by_model.touchpoint_id,
        coalesce(touches.campaign_id, {{ meta_unknown_key('campaign') }}) as campaign_id,
        coalesce(touches.adset_id, {{ meta_unknown_key('adset') }}) as adset_id,
        coalesce(touches.ad_id, {{ meta_unknown_key('ad') }}) as ad_id,
        touches.fb_campaign_id,
        touches.fb_adset_id,
        touches.fb_ad_id,
        touches.google_campaign_id,
        touches.google_ad_group_id,
        touches.google_ad_id,
        touches.account_id,
        touches.source_platform,
        touches.match_method,
        touches.fb_click_id,
        coalesce(by_model.missing_reason, touches.unresolved_reason) as unattributed_reason,
        touches.touched_at,
        purchases.transacted_at,
        by_model.is_winner
    from by_model
    inner join purchases
        on
            by_model.transaction_id = purchases.transaction_id
            and by_model.brand_slug = purchases.brand_slug
    left join touches
        on
            by_model.touchpoint_id = touches.touchpoint_id
            and by_model.brand_slug = touches.brand_slug
)

select * from credits
