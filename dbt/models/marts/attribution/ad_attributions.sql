{{
    config(
        incremental_predicates=["{{ is_due('DBT_INTERNAL_DEST') }}"],
        merge_exclude_columns=['created_at'],
        indexes=[
            {'columns': ['id'], 'unique': true},
            {'columns': ['transaction_id', 'brand_slug'], 'unique': true},
            {'columns': ['date']},
            {'columns': ['ad_id', 'date']},
            {'columns': ['campaign_id', 'date']},
            {'columns': ['user_id']},
        ],
    )
}}

with

purchases as (
    select * from {{ ref('int_purchases_due') }}
),

winners as (
    select * from {{ ref('int_attribution_winners') }}
),

deliveries as (
    select * from {{ ref('int_deliveries_of_transactions') }}
),

attributions as (
    select
        md5('transaction|' || purchases.brand_slug || '|' || purchases.transaction_id)::uuid
            as id,
        purchases.profile_id as user_id,
        purchases.person_id,
        purchases.transaction_id,
        purchases.brand_slug,
        winners.model,
        winners.touch_index,
        winners.touch_count,
        winners.touchpoint_id,
        winners.campaign_id,
        winners.adset_id,
        winners.ad_id,
        winners.fb_campaign_id,
        winners.fb_adset_id,
        winners.fb_ad_id,
        winners.google_campaign_id,
        winners.google_ad_group_id,
        winners.google_ad_id,
        winners.account_id,
        coalesce(deliveries.event_name, 'Purchase') as conversion_event,
        purchases.status,
        purchases.value as conversion_value,
        purchases.currency,
        winners.source_platform,
        winners.fb_click_id,
        winners.match_method,
        winners.unattributed_reason,
        purchases.purchase_number,
        deliveries.platforms -> 'meta' ->> 'status' as meta_delivery_status,
        deliveries.platforms -> 'meta' ->> 'outcome' as meta_delivery_outcome,
        deliveries.platforms -> 'google' ->> 'status' as google_delivery_status,
        deliveries.platforms -> 'google' ->> 'outcome' as google_delivery_outcome,
        deliveries.platforms -> 'posthog' ->> 'status' as posthog_delivery_status,
        deliveries.platforms -> 'posthog' ->> 'outcome' as posthog_delivery_outcome,
        deliveries.deliveries,
        winners.date,
        winners.touched_at,
        purchases.transacted_at as event_time,
        now() as created_at
    from purchases
    inner join winners
        on
            purchases.transaction_id = winners.transaction_id
            and purchases.brand_slug = winners.brand_slug
    left join deliveries
        on
            purchases.transaction_id = deliveries.transaction_id
            and purchases.brand_slug = deliveries.brand_slug
)

select * from attributions
